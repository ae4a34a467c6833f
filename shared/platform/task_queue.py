"""The doorbell: Dramatiq's broker on Redis, the names of actors and queues, and `enqueue`.

A message carries ids and nothing else; losing, repeating or reordering it costs latency, never a payout:
whatever can act by itself has `next_action_at`, and the scheduler's tick rings again.
"""

import queue
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import dramatiq
import redis
import structlog
from dramatiq import MessageProxy
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import CurrentMessage, Middleware, ShutdownNotifications
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.platform import dead_letters, tracing
from shared.platform.settings import Settings

logger = structlog.get_logger(__name__)


class Task(NamedTuple):
    """An actor to wake."""

    actor: str
    queue: str
    """The queue it listens on; each can have a pool of its own."""
    priority: int
    """Where a pool hears several queues, lower goes first: what a driver waits for before what can wait."""
    ids_per_message: int = 500
    """How many ids a message carries; few where each may cost a call to the provider, so that threads share them."""


QUEUE_PAYOUTS: Final = Task("payouts.queue", "payouts", 20)
SUBMIT_PAYOUTS: Final = Task("payouts.submit", "payouts", 20)
POLL_PAYOUTS: Final = Task("payouts.poll", "provider_polls", 40, 4)
SEND_SUBMISSIONS: Final = Task("submissions.send", "payouts", 20, 4)
SEND_INSTANT_SUBMISSIONS: Final = Task("submissions.send_instant", "instant", 0, 4)
APPLY_PROVIDER_EVENTS: Final = Task("provider_events.apply", "provider_events", 10)
RELEASE_BATCHES: Final = Task("batches.release", "batches", 5)
REGISTER_DRIVERS: Final = Task("drivers.register", "drivers", 30, 4)
REQUEST_TOPUPS: Final = Task("topups.request", "drivers", 30, 4)
DELIVER_CUSTOMER_EVENTS: Final = Task("customer_events.deliver", "customer_events", 50)
"""Carries ids of endpoints, not of events: what is due for each is looked up."""

TASKS: Final = (
    QUEUE_PAYOUTS,
    SUBMIT_PAYOUTS,
    POLL_PAYOUTS,
    SEND_SUBMISSIONS,
    SEND_INSTANT_SUBMISSIONS,
    APPLY_PROVIDER_EVENTS,
    RELEASE_BATCHES,
    REGISTER_DRIVERS,
    REQUEST_TOPUPS,
    DELIVER_CUSTOMER_EVENTS,
)
QUEUES: Final = tuple(dict.fromkeys(task.queue for task in TASKS))


NAMESPACE: Final = "ovnpay"
"""What the broker's keys in Redis begin with."""

POLL_INTERVAL_MS: Final = {
    "instant": 50,
    "batches": 25,
    "provider_events": 50,
    "payouts": 100,
    "drivers": 100,
    "provider_polls": 250,
    "customer_events": 100,
}
"""How often an idle worker looks at a queue, in milliseconds: the most that a doorbell waits to be heard. Each look
costs a fifth of a millisecond of a core; Dramatiq's own second is too long for somebody who waits for his money."""

WAKE_UP_QUEUES: Final = frozenset({"instant"})
"""Queues whose idle workers are woken, and look by themselves only in case that the one who was woken has died."""

COALESCE_SECONDS: Final = 0.003
"""How long a ring waits for others to be sent with it. Sending one takes half a millisecond of the interpreter's lock,
just when the gateway has answers to give: they go first."""

WAKE_UP_TTL_SECONDS: Final = 1
WAKE_UPS_MAX: Final = 16
"""How long, and how often, somebody is woken for messages that nobody has asked for yet."""
FULL_PAUSE_SECONDS: Final = 0.005
"""How long a process that has taken as many messages as it may waits before it looks whether it has finished one."""


LISTENING_NOTED_SECONDS: Final = 5.0
LISTENING_SECONDS: Final = 15.0
"""How long after its last sign a process counts as one that listens."""


class _Ear(_RedisConsumer):
    """Dramatiq's listener to a queue, which can be told to take nothing more while what it has taken is finished. It
    says that it is there, for Dramatiq's own heartbeats come from everybody who rings, too.
    """

    _noted_at = -LISTENING_NOTED_SECONDS

    def __init__(self, broker: "TaskBroker", queue_name: str, prefetch: int, timeout: int) -> None:
        self._wakes = queue_name in WAKE_UP_QUEUES
        self._pause_seconds = timeout / 1000
        super().__init__(broker, queue_name, prefetch, 0 if self._wakes else timeout)  # type: ignore[no-untyped-call]

    def __next__(self) -> MessageProxy | None:
        if not self.broker.is_draining:
            self._note_listening()
            heard: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
            if heard is None and self._wakes:
                self._wait()
            return heard
        try:
            self.broker.client.zrem(listeners_key(self.queue_name), self.broker.broker_id)
            waiting, self.message_cache = self.message_cache, []
            self.requeue([MessageProxy(dramatiq.Message.decode(data)) for data in waiting])  # type: ignore[no-untyped-call]
            # Any command is a sign of life; without one, what is under way would be given to somebody else as well.
            self.broker.do_qsize(self.queue_name)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        time.sleep(self._pause_seconds)
        return None

    def nack(self, message: MessageProxy) -> None:
        """Keeps a message whose actor failed, for people; the tick rings again for its rows."""
        unfinished = f"{NAMESPACE}:__acks__.{self.broker.broker_id}.{self.queue_name}"
        try:
            dead_letters.move_to_dead_letters(self.broker.client, f"{NAMESPACE}:{self.queue_name}", unfinished, message)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        finally:
            self.queued_message_ids.discard(message.message_id)

    def _wait(self) -> None:
        """Waits until somebody rings; where as much is under way as may be, until some of it may have ended."""
        if self.outstanding_message_count >= self.prefetch:
            time.sleep(FULL_PAUSE_SECONDS)
            return
        try:
            self.broker.client.blpop([wake_up_key(self.queue_name)], timeout=self._pause_seconds)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def _note_listening(self) -> None:
        if time.monotonic() - self._noted_at < LISTENING_NOTED_SECONDS:
            return
        self._noted_at = time.monotonic()
        key, now = listeners_key(self.queue_name), time.time()
        try:
            with self.broker.client.pipeline() as pipe:
                pipe.zadd(key, {self.broker.broker_id: now})
                pipe.zremrangebyscore(key, 0, now - 4 * LISTENING_SECONDS)
                pipe.expire(key, int(4 * LISTENING_SECONDS))
                pipe.execute()
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]


def listeners_key(queue_name: str) -> str:
    """Where the worker processes that listen to a queue are, by when each has said so, in Unix time."""
    return f"{NAMESPACE}:{queue_name}.listeners"


def wake_up_key(queue_name: str) -> str:
    """What idle workers of a queue wait at."""
    return f"{NAMESPACE}:{queue_name}.waking"


class TaskBroker(RedisBroker):
    """Dramatiq's Redis broker without delay queues: every wait is a due row in Postgres."""

    is_draining = False
    """Whether this process takes no more messages."""

    def __init__(self, settings: Settings, middleware: Sequence[Middleware], *, timeout_seconds: float) -> None:
        """An explicit client (the `url=` form ignores other options) and an explicit middleware list."""
        super().__init__(  # type: ignore[no-untyped-call]
            client=redis_client(settings, timeout_seconds=timeout_seconds),
            middleware=list(middleware),
            namespace=NAMESPACE,
            heartbeat_timeout=15_000,
            dead_message_ttl=3 * 86_400_000,
        )

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Listens to a queue; how often is the queue's own matter, and not `timeout`."""
        return _Ear(self, queue_name, prefetch, POLL_INTERVAL_MS[queue_name])

    def wake(self, queue_name: str) -> None:
        """Wakes one who waits for a message in the queue, or who comes within a second to do so."""
        key = wake_up_key(queue_name)
        with self.client.pipeline() as pipe:
            pipe.lpush(key, 1)
            pipe.ltrim(key, 0, WAKE_UPS_MAX - 1)
            pipe.expire(key, WAKE_UP_TTL_SECONDS)
            pipe.execute()

    def declare_queue(self, queue_name: str) -> None:
        """Declares the queue alone, so that no consumer polls a delay queue that nothing fills."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


def redis_client(settings: Settings, *, timeout_seconds: float) -> "redis.Redis":
    """A client that never repeats a command by itself: a repeated enqueue would ring twice."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        client_name="ovnpay",
    )


def make_broker(settings: Settings, *middleware: Middleware) -> TaskBroker:
    """The workers' broker: no retries, no delays, no results."""
    always = (CurrentMessage(), ShutdownNotifications(), dead_letters.DeadLetters())
    broker = TaskBroker(settings, [*always, *middleware], timeout_seconds=5.0)
    dramatiq.set_broker(broker)
    return broker


class TaskSender:
    """Rings for work, from a thread of its own: a slow or missing Redis never delays an answer.

    Rings that arrive within `COALESCE_SECONDS`, or while one is being sent, are joined by actor; one for an instant
    payout waits for no other. When Redis is away rings are dropped and
    counted, and Redis is left alone for `rest_seconds`; the scheduler's tick is the guarantee.
    """

    def __init__(self, settings: Settings, *, rest_seconds: float = 1.0, queue_size: int = 10_000) -> None:
        self._broker = TaskBroker(settings, [], timeout_seconds=0.5)
        self._copies = settings.task_message_copies
        self._rest_seconds = rest_seconds
        self._rest_until = 0.0
        self._queue: queue.SimpleQueue[tuple[Task, Sequence[uuid.UUID], str | None] | None] = queue.SimpleQueue()
        self._queue_size = queue_size
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task-sender", daemon=True)
        self._thread.start()
        self.dropped = 0

    def enqueue(self, task: Task, ids: Sequence[uuid.UUID]) -> None:
        """Tells the actor behind `task` that these ids have work. Never blocks, never raises."""
        if not ids:
            return
        if self._queue.qsize() >= self._queue_size:
            self.dropped += len(ids)
        else:
            self._queue.put((task, ids, tracing.current_traceparent()))
            if task.queue in WAKE_UP_QUEUES:
                self._hurry.set()

    def waiting(self, queue_name: str) -> int:
        """How many messages wait or are being worked on in a queue; 0 where Redis does not say."""
        try:
            count = self._broker.client.hlen(f"{NAMESPACE}:{queue_name}.msgs")
        except redis.RedisError:
            return 0
        return count if isinstance(count, int) else 0

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Sends what is waiting, then stops."""
        self._queue.put(None)
        self._hurry.set()
        self._thread.join(timeout_seconds)
        self._broker.close()
        self._broker.client.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            rings: dict[Task, list[uuid.UUID]] = {}
            traces: dict[Task, list[str]] = {}
            item = self._queue.get()
            self._hurry.wait(COALESCE_SECONDS)
            self._hurry.clear()
            while True:
                if item is None:
                    closing = True
                else:
                    task, ids, trace = item
                    rings.setdefault(task, []).extend(ids)
                    if trace is not None:
                        traces.setdefault(task, []).append(trace)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            for task, ids in rings.items():
                self._send(task, ids, traces.get(task, ()))

    def _send(self, task: Task, ids: list[uuid.UUID], traces: Sequence[str]) -> None:
        if time.monotonic() < self._rest_until:
            self.dropped += len(ids)
            return
        try:
            for message in build_messages(task, ids, traces):
                for _ in range(self._copies):
                    self._broker.enqueue(message)
                    if task.queue in WAKE_UP_QUEUES:
                        self._broker.wake(task.queue)
        except Exception as error:  # whatever it is, this thread goes on: the tick rings again
            self.dropped += len(ids)
            self._rest_until = time.monotonic() + self._rest_seconds
            logger.warning("doorbell.unheard", actor=task.actor, ids=len(ids), error=repr(error))


def build_messages(task: Task, ids: Iterable[uuid.UUID], traces: Sequence[str] = ()) -> list[dramatiq.Message[Any]]:
    """The messages that say "these ids have work": at most `ids_per_message` of the bell in each. Where somebody
    traces,
    an option says in which traces this was rung.
    """
    options = {tracing.TRACEPARENTS_OPTION: list(dict.fromkeys(traces))[: tracing.SPAN_LINKS_MAX]} if traces else {}
    texts = [value.hex for value in dict.fromkeys(ids)]
    return [
        dramatiq.Message(
            queue_name=task.queue,
            actor_name=task.actor,
            args=(texts[start : start + task.ids_per_message],),
            kwargs={},
            options=options,
        )
        for start in range(0, len(texts), task.ids_per_message)
    ]
