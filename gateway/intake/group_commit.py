"""Group commit: requests that arrive while a flush is under way form the next flush.

One thread, one flush at a time, no timer: an idle gateway flushes a single request at once, a busy one flushes
hundreds in one transaction. Each request gets an answer of its own.

A flush may put an item off (`DEFERRED`) because what it needs is held by somebody else: it then waits its turn in the
group commit behind this one, on another thread, and so does whatever comes for the same line meanwhile. Nobody else
waits with them.
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
    "Requests in one group commit.",
    ["intake"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
FLUSH_SECONDS = Histogram("ovnpay_intake_flush_duration_seconds", "How long a group commit took.", ["intake"])


class Deferred(enum.Enum):
    """The type of `DEFERRED`."""

    LATER = "later"


DEFERRED: Final = Deferred.LATER
"""A flush's word for an item that has to wait for somebody who is not of this group."""


class Overloaded(Exception):
    """More requests wait for a group commit than may."""


class ShuttingDown(Exception):
    """The gateway is stopping and takes nothing more."""


_Waiting = tuple[Item, "asyncio.Future[Answer]"]


class GroupCommit(Generic[Item, Answer]):
    """Gathers items and gives them to `flush` in groups, on a thread of its own."""

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Sequence[Answer | Literal[Deferred.LATER]]],
        *,
        queue_size: int,
        group_size: int,
        weigh: Callable[[Item], int] = lambda item: 1,
        line: Callable[[Item], Hashable] = lambda item: None,
        at_once: int = 1,
        behind: "GroupCommit[Item, Answer] | None" = None,
    ) -> None:
        """`flush` answers each of its items, in order; when it raises, every item of the group gets the exception.

        A group is as many items as weigh at most `group_size` together, and one at the least. Items of one `line` that
        are put off keep their order; `behind` is where they go, and its flush puts nothing off. With `at_once` above
        one, so many groups are flushed at the same time, each of one line alone: lines don't wait for each other.
        """
        self._flush = flush
        self._queue_size = queue_size
        self._group_size = group_size
        self._weigh = weigh
        self._line = line
        self._behind = behind
        self._lines: Counter[Hashable] = Counter()
        """The lines of those who have no answer yet."""
        self._at_once = at_once
        self._wakes: SimpleQueue[asyncio.AbstractEventLoop | None] = SimpleQueue()
        """Each wakes a thread; None ends it."""
        self._threads = [Thread(target=self._work, name=f"{name}-intake", daemon=True) for _ in range(at_once)]
        self._lock = Lock()
        """Held for what the threads and the event loop both change: the three that follow."""
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._running = 0
        """Threads that will look again who waits."""
        self._flushed: set[Hashable] = set()
        """The lines that are being flushed, where each group is of one."""
        self._closing = False
        self._all_answered: asyncio.Future[None] | None = None
        """Somebody waits until nobody else does."""
        self._sizes, self._seconds = GROUP_SIZE.labels(name), FLUSH_SECONDS.labels(name)
        for thread in self._threads:  # now: one that can't be started later would leave everybody waiting
            thread.start()

    async def submit(self, item: Item) -> Answer:
        """Waits for the item's answer.

        Raises:
            Overloaded: too many wait already.
            Closing: the gateway is stopping.

        """
        if self._closing:
            raise ShuttingDown
        if self._behind is not None and self._behind._lines and self._line(item) in self._behind._lines:
            return await self._behind.submit(item)
        if len(self._waiting) >= self._queue_size:
            raise Overloaded
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._take(item, answer)
        # A client that hangs up cancels his answer, and does not take his request out of the group.
        return await answer

    async def close(self) -> None:
        """Answers everybody who waits, then stops."""
        self._closing = True
        if self._lines:
            self._all_answered = asyncio.get_running_loop().create_future()
            await self._all_answered
        for _ in self._threads:
            self._wakes.put(None)
        for thread in self._threads:
            thread.join()
        if self._behind is not None:
            await self._behind.close()

    def _take(self, item: Item, answer: "asyncio.Future[Answer]") -> None:
        self._lines[self._line(item)] += 1
        with self._lock:
            self._waiting.append((item, answer))
            wanted = self._running < self._at_once
            self._running += wanted
        if wanted:
            self._wakes.put(answer.get_loop())

    def _work(self) -> None:
        """A thread's life."""
        while (loop := self._wakes.get()) is not None:
            self._run(loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flushes, on a thread, group after group, until nobody waits. It takes the next group itself, for the event
        loop is busy with the answers to the last one.
        """
        while group := self._next_group():
            started = time.monotonic()
            outcome: Sequence[Answer | Literal[Deferred.LATER]] | Exception
            try:
                outcome = self._flush([item for item, _ in group])
                assert len(outcome) == len(group), "an answer for each"
            except BaseException as error:  # nobody may be left waiting
                outcome = error if isinstance(error, Exception) else RuntimeError(repr(error))
            with self._lock:
                self._flushed.difference_update(self._line(item) for item, _ in group)
            loop.call_soon_threadsafe(self._answer, group, outcome, time.monotonic() - started)

    def _next_group(self) -> "list[_Waiting[Item, Answer]]":
        """Takes the next group out of those who wait: all of them, or of several at once those of one line that is not
        being flushed. With none, its thread is no longer `_running`.
        """
        with self._lock:
            group: list[_Waiting[Item, Answer]] = []
            others: list[_Waiting[Item, Answer]] = []
            whole, line, weight = self._at_once == 1, None, 0
            if not whole:
                line = next((of for item, _ in self._waiting if (of := self._line(item)) not in self._flushed), None)
            for place, one in enumerate(self._waiting):
                if not whole and ((of := self._line(one[0])) != line or of in self._flushed):
                    others.append(one)
                    continue
                weight += self._weigh(one[0])
                if group and weight > self._group_size:
                    others += self._waiting[place:]
                    break
                group.append(one)
            self._waiting = others
            if not group:
                self._running -= 1
            elif not whole:
                self._flushed.add(line)
        return group

    def _answer(
        self,
        group: "list[_Waiting[Item, Answer]]",
        outcome: Sequence[Answer | Literal[Deferred.LATER]] | Exception,
        seconds: float,
    ) -> None:
        """Answers a group, on the event loop; those who are put off wait behind."""
        if isinstance(outcome, Exception):
            for _, future in group:
                if not future.done():
                    future.set_exception(outcome)
                    future.exception()  # seen, even if its client has hung up
        else:
            for (item, future), answer in zip(group, outcome, strict=True):
                if answer is DEFERRED:
                    assert self._behind is not None
                    self._behind._take(item, future)
                elif not future.done():
                    future.set_result(answer)
        for item, _ in group:
            line = self._line(item)
            self._lines[line] -= 1
            if not self._lines[line]:
                del self._lines[line]
        self._sizes.observe(len(group))
        self._seconds.observe(seconds)
        if self._all_answered is not None and not self._lines and not self._all_answered.done():
            self._all_answered.set_result(None)
