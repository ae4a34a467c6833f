"""The task sender: enqueues ids after a commit, without delaying the answer to a request."""

import queue
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

import dramatiq
import redis
import structlog

from shared.platform import tracing
from shared.platform.settings import Settings
from shared.platform.task_queue.broker import TaskBroker
from shared.platform.task_queue.dramatiq_internals import QueueKeys
from shared.platform.task_queue.tasks import WAKE_UP_QUEUES, Task

logger = structlog.get_logger(__name__)

COALESCE_SECONDS: Final = 0.003
"""How long enqueued ids wait for others to be sent with. Sending a message takes half a millisecond of the
interpreter's lock just when the gateway has answers to send, and those go first."""


class TaskSender:
    """Sends messages from its own thread: a slow or missing Redis never delays an answer.

    Ids that arrive within `COALESCE_SECONDS` are joined by task; those of instant payouts are sent at once. If Redis
    fails, ids are dropped and counted for `rest_seconds`: the scheduler's tick is the guarantee.
    """

    def __init__(self, settings: Settings, *, rest_seconds: float = 1.0, queue_size: int = 10_000) -> None:
        self._broker = TaskBroker(settings, [], timeout_seconds=0.5)
        self._copies = settings.task_message_copies
        self._rest_seconds = rest_seconds
        self._rest_until = 0.0
        self._queue: queue.SimpleQueue[tuple[Task, Sequence[uuid.UUID], str | None] | None] = queue.SimpleQueue()
        self._queue_size = queue_size
        self._send_now = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task-sender", daemon=True)
        self._thread.start()
        self.dropped = 0

    def enqueue(self, task: Task, ids: Sequence[uuid.UUID]) -> None:
        """Enqueue ids for a task, after the commit that gave them work. Never blocks or raises."""
        if not ids:
            return
        if self._queue.qsize() >= self._queue_size:
            self.dropped += len(ids)
        else:
            self._queue.put((task, ids, tracing.current_traceparent()))
            if task.queue in WAKE_UP_QUEUES:
                self._send_now.set()

    def message_count(self, queue_name: str) -> int:
        """Return the number of messages of a queue, waiting or in progress; 0 if Redis does not answer."""
        try:
            count = self._broker.client.hlen(QueueKeys(queue_name).messages)
        except redis.RedisError:
            return 0
        return count if isinstance(count, int) else 0

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Send what was enqueued, then stop."""
        self._queue.put(None)
        self._send_now.set()
        self._thread.join(timeout_seconds)
        self._broker.close()
        self._broker.client.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            ids_by_task: dict[Task, list[uuid.UUID]] = {}
            traces: dict[Task, list[str]] = {}
            item = self._queue.get()
            self._send_now.wait(COALESCE_SECONDS)
            self._send_now.clear()
            while True:
                if item is None:
                    closing = True
                else:
                    task, ids, trace = item
                    ids_by_task.setdefault(task, []).extend(ids)
                    if trace is not None:
                        traces.setdefault(task, []).append(trace)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            for task, ids in ids_by_task.items():
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
        except Exception as error:  # of any kind: this thread must go on, and the tick enqueues the rows again
            self.dropped += len(ids)
            self._rest_until = time.monotonic() + self._rest_seconds
            logger.warning("task_queue.send_failed", actor=task.actor, ids=len(ids), error=repr(error))


def build_messages(task: Task, ids: Iterable[uuid.UUID], traces: Sequence[str] = ()) -> list[dramatiq.Message[Any]]:
    """Build the messages for these ids, at most `ids_per_message` in each; an option carries the trace contexts."""
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
