"""Reserved threads: part of a worker process' threads only runs instant payouts.

A priority frees no thread: while a large batch is sent, each waits for Paystream's answer to a thousand payouts.
"""

import threading
import time
from queue import Empty, PriorityQueue
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from shared.platform.task_queue import SEND_INSTANT_SUBMISSIONS
from shared.platform.task_queue.dramatiq_internals import (
    consumed_queues,
    queue_of_item,
    replace_work_queue,
    thread_count,
)

INSTANT_QUEUE = SEND_INSTANT_SUBMISSIONS.queue


def reserved_thread_count(threads: int) -> int:
    """Return how many threads are reserved: a third, and at least one of two or more."""
    return threads // 3 or min(threads - 1, 1)


class ReservingWorkQueue(PriorityQueue[Any]):
    """The queue of messages that wait for a thread; other work than instant payouts occupies at most `most` threads."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._others_running = 0
        self._thread = threading.local()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message that may start; without `block`, the first one whether it may start or not.

        Raises:
            queue.Empty: there was none in time.

        """
        if not block:
            return super().get(block=False)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.not_empty:
            while not self._may_start_first():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                self.not_empty.wait(left)
            item = self._get()
            self._thread.runs_other = queue_of_item(item) != INSTANT_QUEUE
            self._others_running += self._thread.runs_other
            return item

    def task_done(self) -> None:
        """Free the calling thread."""
        with self.mutex:
            if getattr(self._thread, "runs_other", False):
                self._thread.runs_other = False
                self._others_running -= 1
                self.not_empty.notify()
        super().task_done()

    def _may_start_first(self) -> bool:
        # Instant payouts have the highest priority, so one is first if there is any.
        return bool(self.queue) and (self._others_running < self._most or queue_of_item(self.queue[0]) == INSTANT_QUEUE)


class ReservedThreads(Middleware):
    """Reserves threads in processes that consume instant payouts and something else."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        queues, threads = consumed_queues(worker), thread_count(worker)
        reserved = reserved_thread_count(threads)
        if reserved and INSTANT_QUEUE in queues and len(queues) > 1:
            replace_work_queue(worker, ReservingWorkQueue(threads - reserved))
