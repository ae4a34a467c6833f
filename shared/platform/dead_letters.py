"""Dead letters: the messages whose actor failed, kept in Redis for people to see and to ring again.

Nothing depends on them: the rows that a message names are due by themselves, and the tick rings for them again. So a
message never comes back by itself, only the newest of each queue are kept, and a letter that fails again is counted
on, not kept twice. They lie where Dramatiq keeps its own, and go with them after three days.
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

DEAD_LETTERS_MAX: Final = 200
"""Letters of a queue: a letter may name 500 rows, and a full Redis would silence every doorbell."""
ERROR_LENGTH_MAX: Final = 200

_BURY: Final = """
-- As Dramatiq's own nack, but under an id by which the same work is known again, and only the newest are kept.
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
-- Moves a letter back into its queue: whoever dies meanwhile, it is in one of the two. One that is in the queue already
-- is not put there a second time.
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
    """The rows that it named."""
    times: int
    """How often it has failed; rings for the same rows count as one."""
    first_failed_at: datetime
    failed_at: datetime
    error: str | None
    """Of the last time: the kind and the first line."""


class DeadLetters(Middleware):
    """Has a message whose actor failed buried, for without this Dramatiq would take it for done."""

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Marks it."""
        if exception is not None:
            message.fail()


def move_to_dead_letters(client: "redis.Redis", queue_key: str, unfinished_key: str, message: MessageProxy) -> None:
    """Moves a message that this process has taken to the dead letters of its queue."""
    rows = " ".join(sorted(str(one) for part in message.args for one in part))
    letter_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{message.actor_name} {rows}"))
    now_ms = time.time_ns() // 1_000_000
    told = message.options.get("dead")
    data = client.hget(f"{queue_key}.XQ.msgs", letter_id)
    if isinstance(data, bytes):  # counted apart from the move: where two fail at once, one may not be counted
        told = dramatiq.Message.decode(data).options.get("dead", told)
    told = told or {"times": 0, "first_failed_ms": now_ms}
    dead = told | {"times": told["times"] + 1, "error": _sentence(message._exception)}
    letter = message._message.copy(options={"redis_message_id": letter_id, "dead": dead})
    keys = [unfinished_key, f"{queue_key}.msgs", f"{queue_key}.XQ", f"{queue_key}.XQ.msgs"]
    values = [message.options["redis_message_id"], letter_id, now_ms, letter.encode(), DEAD_LETTERS_MAX]
    client.register_script(_BURY)(keys=keys, args=values)


def load_dead_letters(client: "redis.Redis", queue_key: str) -> list[DeadLetter]:
    """The letters of a queue, the newest first."""
    found: Any = client.zrevrange(f"{queue_key}.XQ", 0, DEAD_LETTERS_MAX - 1, withscores=True)
    if not found:
        return []
    kept: Any = client.hmget(f"{queue_key}.XQ.msgs", [name for name, _ in found])
    letters = []
    for (name, failed_ms), data in zip(found, kept, strict=True):
        if data is None:  # rung for again, or forgotten, between the two questions
            continue
        message = dramatiq.Message.decode(data)
        dead = message.options.get("dead") or {}
        letters.append(
            DeadLetter(
                name.decode(),
                message.queue_name,
                message.actor_name,
                _uuids(one for part in message.args for one in part),
                dead.get("times", 1),
                _moment(dead.get("first_failed_ms", failed_ms)),
                _moment(failed_ms),
                dead.get("error"),
            )
        )
    return letters


def retry_dead_letter(client: "redis.Redis", queue_key: str, letter_id: str) -> bool:
    """Rings again for the rows of a letter, and takes it away, in one step. False where there is none by that id."""
    keys = [queue_key, f"{queue_key}.msgs", f"{queue_key}.XQ", f"{queue_key}.XQ.msgs"]
    return bool(client.register_script(_RETRY)(keys=keys, args=[letter_id]))


def _sentence(error: BaseException | None) -> str | None:
    """An error in one line that may be shown."""
    if error is None:
        return None
    first, _, _ = str(error).strip().partition("\n")
    return mask_secrets(f"{type(error).__name__}: {first}" if first else type(error).__name__)[:ERROR_LENGTH_MAX]


def _uuids(texts: Iterable[object]) -> list[uuid.UUID]:
    """What of it is ids; a message that a stranger has put there may have others."""
    found = []
    for text in texts:
        try:
            found.append(uuid.UUID(str(text)))
        except ValueError:
            continue
    return found


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
