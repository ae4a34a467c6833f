"""Dead letters: messages whose actor failed, kept in Redis for operators to see and to enqueue again.

Nothing depends on them, because their rows are due by themselves. A message never comes back by itself, only the newest
of each queue are kept, and a repeated failure for the same rows is only counted. They expire after three days.
"""

import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import dramatiq
import redis
from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware

from shared.platform.masking import mask_secrets
from shared.platform.task_queue.dramatiq_internals import QueueKeys, message_error

DEAD_LETTERS_MAX: Final = 200
"""Letters kept for each queue. A letter may name 500 rows, and a full Redis accepts no message."""
ERROR_LENGTH_MAX: Final = 200

_MOVE_TO_DEAD_LETTERS: Final = """
-- Like Dramatiq's own nack, but under an id made of the actor and the rows, and only the newest are kept.
local unfinished, messages, letters, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local message_id, letter_id, now, data, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('srem', unfinished, message_id) > 0 then
    redis.call('hdel', messages, message_id)
    redis.call('zadd', letters, now, letter_id)
    redis.call('hset', kept, letter_id, data)
    local over = math.min(redis.call('zcard', letters) - most, 1000)
    if over > 0 then
        local oldest = redis.call('zrange', letters, 0, over - 1)
        redis.call('zrem', letters, unpack(oldest))
        redis.call('hdel', kept, unpack(oldest))
    end
end
"""

_RETRY: Final = """
-- Moves a letter back into its queue, atomically. One that is in the queue already is not added a second time.
local queue, messages, letters, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local data = redis.call('hget', kept, ARGV[1])
if data and redis.call('hset', messages, ARGV[1], data) == 1 then
    redis.call('rpush', queue, ARGV[1])
end
redis.call('zrem', letters, ARGV[1])
redis.call('hdel', kept, ARGV[1])
return data and 1 or 0
"""


class DeadLetter(NamedTuple):
    """A message whose actor failed."""

    id: str
    queue: str
    actor: str
    row_ids: list[uuid.UUID]
    """The rows that the message named."""
    times: int
    """How often it has failed; messages for the same rows count as one letter."""
    first_failed_at: datetime
    failed_at: datetime
    error: str | None
    """The last failure: exception type and first line."""


class DeadLetters(Middleware):
    """Mark a message whose actor failed as failed; without retries Dramatiq would acknowledge it."""

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            message.fail()


def move_to_dead_letters(client: "redis.Redis", keys: QueueKeys, broker_id: str, message: MessageProxy) -> None:
    """Move a fetched message to the dead letters of its queue."""
    rows = " ".join(sorted(str(one) for part in message.args for one in part))
    letter_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{message.actor_name} {rows}"))
    now_ms = time.time_ns() // 1_000_000
    earlier = message.options.get("dead")
    # Read before the move: two concurrent failures for the same rows may count as one.
    data = client.hget(keys.dead_messages, letter_id)
    if isinstance(data, bytes):
        earlier = dramatiq.Message.decode(data).options.get("dead", earlier)
    earlier = earlier or {"times": 0, "first_failed_ms": now_ms}
    dead = earlier | {"times": earlier["times"] + 1, "error": _describe(message_error(message))}
    letter = message.copy(options={"redis_message_id": letter_id, "dead": dead})
    script_keys = [keys.unacknowledged(broker_id), keys.messages, keys.dead, keys.dead_messages]
    values = [message.options["redis_message_id"], letter_id, now_ms, letter.encode(), DEAD_LETTERS_MAX]
    client.register_script(_MOVE_TO_DEAD_LETTERS)(keys=script_keys, args=values)


def load_dead_letters(client: "redis.Redis", queue: str) -> list[DeadLetter]:
    """Load the letters of a queue, the newest first."""
    keys = QueueKeys(queue)
    found: Any = client.zrevrange(keys.dead, 0, DEAD_LETTERS_MAX - 1, withscores=True)
    if not found:
        return []
    kept: Any = client.hmget(keys.dead_messages, [name for name, _ in found])
    letters = []
    for (name, failed_ms), data in zip(found, kept, strict=True):
        if data is None:  # retried or expired between the two reads
            continue
        message = dramatiq.Message.decode(data)
        dead = message.options.get("dead") or {}
        letters.append(
            DeadLetter(
                name.decode(),
                message.queue_name,
                message.actor_name,
                _parse_uuids(one for part in message.args for one in part),
                dead.get("times", 1),
                _to_datetime(dead.get("first_failed_ms", failed_ms)),
                _to_datetime(failed_ms),
                dead.get("error"),
            )
        )
    return letters


def retry_dead_letter(client: "redis.Redis", queue: str, letter_id: str) -> bool:
    """Enqueue a letter again and remove it, atomically. Return False if there is no such letter."""
    keys = QueueKeys(queue)
    script_keys = [keys.queue, keys.messages, keys.dead, keys.dead_messages]
    return bool(client.register_script(_RETRY)(keys=script_keys, args=[letter_id]))


def _describe(error: BaseException | None) -> str | None:
    if error is None:
        return None
    first, _, _ = str(error).strip().partition("\n")
    return mask_secrets(f"{type(error).__name__}: {first}" if first else type(error).__name__)[:ERROR_LENGTH_MAX]


def _parse_uuids(texts: Iterable[object]) -> list[uuid.UUID]:
    # A foreign message may have other values.
    found = []
    for text in texts:
        try:
            found.append(uuid.UUID(str(text)))
        except ValueError:
            continue
    return found


def _to_datetime(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
