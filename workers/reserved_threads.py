"""Seats: some threads of a process that hears several queues are kept free for instant payouts.

Messages wait in one line, ordered by priority, for whichever thread is free; but a priority frees no thread. While the
payouts of a large batch are sent, each thread waits for Paystream's answer to a thousand of them, and an instant payout
would wait for that.
"""

import threading
import time
from queue import Empty, PriorityQueue
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from shared.platform.task_queue import SEND_INSTANT_SUBMISSIONS

INSTANT_QUEUE = SEND_INSTANT_SUBMISSIONS.queue


def reserved_thread_count(threads: int) -> int:
    """How many of so many threads do nothing but instant payouts: a third, and at least one where there are two."""
    return threads // 3 or min(threads - 1, 1)


class ReservingWorkQueue(PriorityQueue[Any]):
    """Dramatiq's line of messages that wait for a thread, of which those that are not of instant payouts can occupy
    `most` threads at a time.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._seated = 0
        self._mine = threading.local()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next message that may begin; whoever does not wait for one takes all away, and gets the first.

        Raises:
            queue.Empty: there was none in time.

        """
        if not block:
            return super().get(block=False)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.not_empty:
            while not self._may_begin():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                self.not_empty.wait(left)
            item = self._get()
            self._mine.seated = item.message.queue_name != INSTANT_QUEUE
            self._seated += self._mine.seated
            return item

    def task_done(self) -> None:
        """A thread has ended what it got."""
        with self.mutex:
            if getattr(self._mine, "seated", False):
                self._mine.seated = False
                self._seated -= 1
                self.not_empty.notify()
        super().task_done()

    def _may_begin(self) -> bool:
        """Whether the first in the line may; those of instant payouts come before all others."""
        return bool(self.queue) and (self._seated < self._most or self.queue[0].message.queue_name == INSTANT_QUEUE)


class ReservedThreads(Middleware):
    """Keeps threads free in processes that hear instant payouts and something else."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Before there are any threads."""
        queues = worker.consumer_whitelist or broker.get_declared_queues()
        free = reserved_thread_count(worker.worker_threads)
        if free and INSTANT_QUEUE in queues and len(queues) > 1:
            worker.work_queue = ReservingWorkQueue(worker.worker_threads - free)
