"""Everything that relies on Dramatiq's private parts, read in Dramatiq 2.2.1 (`READ_IN_VERSION`).

pyproject.toml pins that version exactly, and tests/unit/test_dramatiq_internals.py fails when one of these parts
changes: `brokers.redis._RedisConsumer` with its message cache and ids, the keys of Dramatiq's Lua scripts, the work
queue, consumers and thread counts of `Worker`, and the exception of a `MessageProxy`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from queue import PriorityQueue
from typing import Any, Final, NamedTuple

import dramatiq
import redis
from dramatiq import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import iter_queue
from dramatiq.errors import BrokerConnectionError, ConnectionClosed

from shared.platform.task_queue.tasks import NAMESPACE

READ_IN_VERSION: Final = "2.2.1"

FULL_PAUSE_SECONDS: Final = 0.005
"""Pause of a consumer whose process has fetched as many messages as it may, until one of them may have ended."""


class QueueKeys:
    """The names of a queue's keys in Redis, as Dramatiq's scripts use them."""

    def __init__(self, queue: str) -> None:
        self._name = queue
        self.queue = f"{NAMESPACE}:{queue}"
        """List of the ids of waiting messages."""
        self.messages = f"{self.queue}.msgs"
        """Hash of all messages, waiting or fetched, by id."""
        self.dead = f"{self.queue}.XQ"
        """Sorted set of the ids of dead letters, by the time of their failure."""
        self.dead_messages = f"{self.queue}.XQ.msgs"
        """Hash of dead letters by id."""
        self.wake_ups = f"{self.queue}.waking"
        """List that idle workers block on; ours, not Dramatiq's."""

    def unacknowledged(self, broker_id: str) -> str:
        """The set of the ids that a process has fetched and not acknowledged."""
        return f"{NAMESPACE}:__acks__.{broker_id}.{self._name}"


class ConsumerOptions(NamedTuple):
    """How a queue is consumed."""

    poll_interval_ms: int
    blocks_until_woken: bool
    is_draining: Callable[[], bool]
    """Whether the process fetches no more messages."""
    keep_failed: Callable[[MessageProxy], None]
    """Keeps a message whose actor failed, in place of Dramatiq's own nack."""


class TaskConsumer(_RedisConsumer):
    """Dramatiq's consumer of a queue, with its own poll interval, wake-ups, dead letters, and draining."""

    def __init__(self, broker: RedisBroker, queue_name: str, prefetch: int, options: ConsumerOptions) -> None:
        self._options = options
        self._keys = QueueKeys(queue_name)
        timeout_ms = 0 if options.blocks_until_woken else options.poll_interval_ms
        super().__init__(broker, queue_name, prefetch, timeout_ms)  # type: ignore[no-untyped-call]

    def __next__(self) -> MessageProxy | None:
        if self._options.is_draining():
            self._drain()
            return None
        message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        if message is None and self._options.blocks_until_woken:
            self._wait_for_wake_up()
        return message

    def nack(self, message: MessageProxy) -> None:
        """Keep a message whose actor failed for operators; the tick enqueues its rows again."""
        try:
            self._options.keep_failed(message)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        finally:
            self.queued_message_ids.discard(message.message_id)

    def _drain(self) -> None:
        """Hand back what was fetched and not started."""
        try:
            cached, self.message_cache = self.message_cache, []
            self.requeue([MessageProxy(dramatiq.Message.decode(data)) for data in cached])  # type: ignore[no-untyped-call]
            # Any command is a heartbeat; without one, messages in progress would be redelivered to another process.
            self.broker.do_qsize(self.queue_name)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        time.sleep(self._options.poll_interval_ms / 1000)

    def _wait_for_wake_up(self) -> None:
        if self.outstanding_message_count >= self.prefetch:
            time.sleep(FULL_PAUSE_SECONDS)
            return
        try:
            self.broker.client.blpop([self._keys.wake_ups], timeout=self._options.poll_interval_ms / 1000)
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]


def consumed_queues(worker: dramatiq.Worker) -> set[str]:
    """Return the queues that a worker process consumes."""
    return set(worker.consumer_whitelist or worker.broker.get_declared_queues())


def thread_count(worker: dramatiq.Worker) -> int:
    """Return the number of actor threads."""
    return worker.worker_threads


def replace_work_queue(worker: dramatiq.Worker, work_queue: "PriorityQueue[Any]") -> None:
    """Replace the queue of messages that wait for a thread, before the threads start."""
    worker.work_queue = work_queue


def queue_of_item(item: Any) -> str:
    """Return the queue name of a work queue's item."""
    return str(item.message.queue_name)


def requeue_waiting(worker: dramatiq.Worker) -> Iterator[tuple[str, int, Exception]]:
    """Hand back all messages that wait for a thread; yield (queue, number of messages, error) for each failure."""
    waiting: defaultdict[str, list[MessageProxy]] = defaultdict(list)
    for item in iter_queue(worker.work_queue):  # type: ignore[no-untyped-call]
        waiting[item.message.queue_name].append(item.message)
    for queue_name, messages in waiting.items():
        try:
            worker.consumers[queue_name].requeue_messages(messages)
        except (BrokerConnectionError, redis.RedisError) as error:
            yield queue_name, len(messages), error


def message_error(message: MessageProxy) -> BaseException | None:
    """Return the exception that a message's actor raised."""
    return message._exception
