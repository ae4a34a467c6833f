"""Group commit: requests that arrive while a flush is under way form the next flush.

One thread, one flush at a time, no timer: an idle gateway flushes a single request at once, a busy one flushes
hundreds in one transaction. Each request gets an answer of its own.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

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


class Overloaded(Exception):
    """More requests wait for a group commit than may."""


class Closing(Exception):
    """The gateway is stopping and takes nothing more."""


class GroupCommit(Generic[Item, Answer]):
    """Gathers items and gives them to `flush` in groups, on a thread of its own."""

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        queue_size: int,
        group_size: int,
        weigh: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        """`flush` answers each of its items, in order; when it raises, every item of the group gets the exception.

        A group is as many items as weigh at most `group_size` together, and one at the least.
        """
        self._name = name
        self._flush = flush
        self._queue_size = queue_size
        self._group_size = group_size
        self._weigh = weigh
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-intake")
        self._flushing: asyncio.Task[None] | None = None
        self._closing = False

    async def submit(self, item: Item) -> Answer:
        """Waits for the item's answer.

        Raises:
            Overloaded: too many wait already.
            Closing: the gateway is stopping.
        """
        if self._closing:
            raise Closing
        if len(self._waiting) >= self._queue_size:
            raise Overloaded
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._run())
        # A client that hangs up does not take its request out of the group.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Answers everybody who waits, then stops."""
        self._closing = True
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown()

    def _count(self) -> int:
        """How many of those who wait form the next group."""
        weight = 0
        for count, (item, _) in enumerate(self._waiting):
            weight += self._weigh(item)
            if weight > self._group_size:
                return max(count, 1)
        return len(self._waiting)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            count = self._count()
            group, self._waiting = self._waiting[:count], self._waiting[count:]
            started = time.monotonic()
            try:
                answers = await loop.run_in_executor(self._thread, self._flush, [item for item, _ in group])
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # seen, even if its client has hung up
            else:
                for (_, future), answer in zip(group, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
            GROUP_SIZE.labels(self._name).observe(len(group))
            FLUSH_SECONDS.labels(self._name).observe(time.monotonic() - started)
        self._flushing = None
