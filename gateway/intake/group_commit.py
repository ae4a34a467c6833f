"""Group commit: requests that arrive during a flush form the next group, and each gets its own response.

There is no timer: an idle gateway flushes a single request at once, a busy one flushes hundreds in one transaction.

A flush can defer an item (`DEFERRED`) whose rows another transaction has locked. It then waits in a second group
commit, as do later items of its queue. Items of other queues don't wait for them.
"""

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, Generic, Literal, TypeVar

import structlog
from prometheus_client import Histogram

logger = structlog.get_logger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GROUP_SIZE = Histogram(
    "ovnpay_intake_group_size",
    "Requests in a group commit.",
    ["intake"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
FLUSH_SECONDS = Histogram("ovnpay_intake_flush_duration_seconds", "Duration of a group commit.", ["intake"])


class Deferred(enum.Enum):
    DEFERRED = "deferred"


DEFERRED: Final = Deferred.DEFERRED
"""Returned by a flush for an item whose rows are locked by another transaction."""


class Overloaded(Exception):
    """Too many requests are waiting."""


class ShuttingDown(Exception):
    """The gateway is stopping and accepts no more requests."""


_Waiting = tuple[Item, "asyncio.Future[Answer]"]


class GroupCommit(Generic[Item, Answer]):
    """Collects items and passes them to `flush` in groups, on threads of its own."""

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Sequence[Answer | Literal[Deferred.DEFERRED]]],
        *,
        queue_size: int,
        group_size: int,
        weight: Callable[[Item], int] = lambda item: 1,
        queue_key: Callable[[Item], Hashable] = lambda item: None,
        threads: int = 1,
        deferred_to: "GroupCommit[Item, Answer] | None" = None,
    ) -> None:
        """`flush` returns an answer for each item, in order; if it raises, each item of the group gets the exception.

        A group is one item, or several with a total weight of at most `group_size`. Deferred items with one `queue_key`
        keep their order in `deferred_to`, whose flush defers nothing. With several `threads`, each flushes a group of a
        single queue, and queues don't wait for each other.
        """
        self._flush = flush
        self._queue_size = queue_size
        self._group_size = group_size
        self._weight = weight
        self._queue_key = queue_key
        self._deferred_to = deferred_to
        self._unanswered: Counter[Hashable] = Counter()
        """The number of items without an answer, by queue."""
        self._wake_ups: SimpleQueue[asyncio.AbstractEventLoop | None] = SimpleQueue()
        """Each entry wakes a thread; None ends it."""
        self._threads = [Thread(target=self._work, name=f"{name}-intake", daemon=True) for _ in range(threads)]
        self._lock = Lock()
        """Guards the next three, which the threads and the event loop change."""
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._running = 0
        """Threads that will look for waiting items again."""
        self._flushing: set[Hashable] = set()
        """With several threads: the queues of the groups that are being flushed."""
        self._closing = False
        self._all_answered: asyncio.Future[None] | None = None
        self._sizes, self._seconds = GROUP_SIZE.labels(name), FLUSH_SECONDS.labels(name)
        for thread in self._threads:  # now: if it could not start later, all items would wait forever
            thread.start()

    async def submit(self, item: Item) -> Answer:
        """Wait for the item's answer.

        Raises:
            Overloaded: too many items are waiting.
            ShuttingDown: the gateway is stopping.

        """
        if self._closing:
            raise ShuttingDown
        behind = self._deferred_to
        if behind is not None and behind._unanswered and self._queue_key(item) in behind._unanswered:
            return await behind.submit(item)
        if len(self._waiting) >= self._queue_size:
            raise Overloaded
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._add(item, future)
        # If the client disconnects, its future is canceled, and its item stays in the group.
        return await future

    async def close(self) -> None:
        """Answer all waiting items, then stop."""
        self._closing = True
        if self._unanswered:
            self._all_answered = asyncio.get_running_loop().create_future()
            await self._all_answered
        for _ in self._threads:
            self._wake_ups.put(None)
        for thread in self._threads:
            thread.join()
        if self._deferred_to is not None:
            await self._deferred_to.close()

    def _add(self, item: Item, future: "asyncio.Future[Answer]") -> None:
        self._unanswered[self._queue_key(item)] += 1
        with self._lock:
            self._waiting.append((item, future))
            is_thread_free = self._running < len(self._threads)
            self._running += is_thread_free
        if is_thread_free:
            self._wake_ups.put(future.get_loop())

    def _work(self) -> None:
        while (loop := self._wake_ups.get()) is not None:
            self._flush_groups(loop)

    def _flush_groups(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush group after group until no item waits; the event loop is busy answering the previous one."""
        while group := self._next_group():
            started = time.monotonic()
            outcome: Sequence[Answer | Literal[Deferred.DEFERRED]] | Exception
            try:
                outcome = self._flush([item for item, _ in group])
                assert len(outcome) == len(group), "an answer for each item"
            except BaseException as error:  # SystemExit too: no item may wait forever
                outcome = error if isinstance(error, Exception) else RuntimeError(repr(error))
            with self._lock:
                self._flushing.difference_update(self._queue_key(item) for item, _ in group)
            loop.call_soon_threadsafe(self._answer, group, outcome, time.monotonic() - started)

    def _next_group(self) -> "list[_Waiting[Item, Answer]]":
        """Take the next group from the waiting items; without one, count the thread as no longer running.

        With one thread the group has items of all queues, else only those of one queue that is not being flushed.
        """
        with self._lock:
            group: list[_Waiting[Item, Answer]] = []
            others: list[_Waiting[Item, Answer]] = []
            has_all_queues, queue, weight = len(self._threads) == 1, None, 0
            if not has_all_queues:
                keys = (self._queue_key(item) for item, _ in self._waiting)
                queue = next((key for key in keys if key not in self._flushing), None)
            for index, waiting in enumerate(self._waiting):
                if not has_all_queues and ((key := self._queue_key(waiting[0])) != queue or key in self._flushing):
                    others.append(waiting)
                    continue
                weight += self._weight(waiting[0])
                if group and weight > self._group_size:
                    others += self._waiting[index:]
                    break
                group.append(waiting)
            self._waiting = others
            if not group:
                self._running -= 1
            elif not has_all_queues:
                self._flushing.add(queue)
        return group

    def _answer(
        self,
        group: "list[_Waiting[Item, Answer]]",
        outcome: Sequence[Answer | Literal[Deferred.DEFERRED]] | Exception,
        seconds: float,
    ) -> None:
        """Answer a group, on the event loop, and pass deferred items on."""
        if isinstance(outcome, Exception):
            for _, future in group:
                if not future.done():
                    future.set_exception(outcome)
                    future.exception()  # marks it as retrieved, in case its client has disconnected
        else:
            for (item, future), answer in zip(group, outcome, strict=True):
                if answer is DEFERRED:
                    assert self._deferred_to is not None
                    self._deferred_to._add(item, future)
                elif not future.done():
                    future.set_result(answer)
        for item, _ in group:
            key = self._queue_key(item)
            self._unanswered[key] -= 1
            if not self._unanswered[key]:
                del self._unanswered[key]
        self._sizes.observe(len(group))
        self._seconds.observe(seconds)
        if self._all_answered is not None and not self._unanswered and not self._all_answered.done():
            self._all_answered.set_result(None)
