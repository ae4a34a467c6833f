"""Group commit: requests that arrive while a flush is under way form the next flush.

One thread, one flush at a time, no timer: an idle gateway flushes a single request at once, a busy one flushes
hundreds in one transaction. Each request gets an answer of its own.

A flush may put an item off (`LATER`) because what it needs is held by somebody else: it then waits its turn in the
group commit behind this one, on another thread, and so does whatever comes for the same line meanwhile. Nobody else
waits with them.
"""

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
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


class Later(enum.Enum):
    """The type of `LATER`."""

    LATER = "later"


LATER: Final = Later.LATER
"""A flush's word for an item that has to wait for somebody who is not of this group."""


class Overloaded(Exception):
    """More requests wait for a group commit than may."""


class Closing(Exception):
    """The gateway is stopping and takes nothing more."""


class GroupCommit(Generic[Item, Answer]):
    """Gathers items and gives them to `flush` in groups, on a thread of its own."""

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Sequence[Answer | Literal[Later.LATER]]],
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
        """The lines of those who wait or are being flushed."""
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=f"{name}-intake")
        self._runs: set[asyncio.Task[None]] = set()
        self._running = 0
        """Runs that will look again who waits. Not those in `_runs`: a task that has ended stays there for a moment,
        and whoever came in that moment would wait for the next one to come."""
        self._flushed: set[Hashable] = set()
        """The lines that are being flushed, where each group is of one."""
        self._closing = False
        self._sizes, self._seconds = GROUP_SIZE.labels(name), FLUSH_SECONDS.labels(name)

    async def submit(self, item: Item) -> Answer:
        """Waits for the item's answer.

        Raises:
            Overloaded: too many wait already.
            Closing: the gateway is stopping.

        """
        if self._closing:
            raise Closing
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
        while self._runs:
            await asyncio.wait(self._runs)
        self._threads.shutdown()
        if self._behind is not None:
            await self._behind.close()

    def _take(self, item: Item, answer: "asyncio.Future[Answer]") -> None:
        self._waiting.append((item, answer))
        self._lines[self._line(item)] += 1
        if self._running < self._at_once:
            self._running += 1
            run = asyncio.create_task(self._run())
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    def _next_group(self) -> list[tuple[Item, "asyncio.Future[Answer]"]]:
        """Takes the next group out of those who wait: all of them, or of several at once those of one line that is not
        being flushed.
        """
        whole, line = self._at_once == 1, None
        if not whole:
            free = (self._line(item) for item, _ in self._waiting if self._line(item) not in self._flushed)
            line = next(free, None)
            if line is None:
                return []
        group: list[tuple[Item, asyncio.Future[Answer]]] = []
        others: list[tuple[Item, asyncio.Future[Answer]]] = []
        weight = 0
        for place, one in enumerate(self._waiting):
            if not whole and self._line(one[0]) != line:
                others.append(one)
                continue
            weight += self._weigh(one[0])
            if group and weight > self._group_size:
                others += self._waiting[place:]
                break
            group.append(one)
        self._waiting = others
        return group

    async def _run(self) -> None:
        try:
            while group := self._next_group():
                await self._flush_group(group)
        finally:
            self._running -= 1

    async def _flush_group(self, group: list[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        loop = asyncio.get_running_loop()
        lines = Counter(self._line(item) for item, _ in group)
        self._flushed |= lines.keys()
        started = time.monotonic()
        try:
            answers = await loop.run_in_executor(self._threads, self._flush, [item for item, _ in group])
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # seen, even if its client has hung up
        else:
            for (item, future), answer in zip(group, answers, strict=True):
                if answer is LATER:
                    assert self._behind is not None
                    self._behind._take(item, future)
                elif not future.done():
                    future.set_result(answer)
        self._flushed -= lines.keys()
        self._lines -= lines  # and forgets those that are empty
        self._sizes.observe(len(group))
        self._seconds.observe(time.monotonic() - started)
