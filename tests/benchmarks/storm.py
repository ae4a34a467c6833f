"""A cheap load generator on asyncio protocols for prepared requests over keep-alive connections."""

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

MARK: Final = b"@" * 16
"""The placeholder of a number in a template."""

PERCENTS: Final = (*range(1, 100), 99.5, 99.9, 99.99, 100)
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\r\n", re.IGNORECASE)


class Load(NamedTuple):
    """The result."""

    generator: str
    seconds: float
    answers: int
    refused: int
    """Responses other than 2xx and 3xx, and requests without a response."""
    curve: Sequence[tuple[float, float]]
    """Return a percentile of the latency in milliseconds."""

    @property
    def a_second(self) -> float:
        """Successful responses per second."""
        return (self.answers - self.refused) / self.seconds

    def percentile(self, of_a_hundred: float) -> float:
        """In milliseconds."""
        return next((value for percent, value in self.curve if percent >= of_a_hundred), 0.0)


def curve_of(milliseconds: Iterable[float]) -> list[tuple[float, float]]:
    """The distribution of single latencies."""
    ranked = sorted(milliseconds)
    last = len(ranked) - 1
    return [(float(percent), ranked[min(int(len(ranked) * percent / 100), last)]) for percent in PERCENTS if ranked]


class _Client(asyncio.Protocol):
    """One connection: sends the next request after each response."""

    def __init__(self, waiting: Iterator[bytes], taken: list[float], refused: list[bytes], end: float) -> None:
        self._waiting, self._taken, self._refused, self._end = waiting, taken, refused, end
        self._received = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if separator else None
        if length is None or len(body) < int(length[1]):
            return
        self._taken.append((time.perf_counter() - self._sent_at) * 1000)
        if not head.startswith(b"HTTP/1.1 2"):
            self._refused.append(self._received)
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection"))

    def _next(self) -> None:
        self._sent_at = time.perf_counter()
        following = next(self._waiting, None) if self._sent_at < self._end else None
        if following is not None:
            self._transport.write(following)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def storm(url: str, requests: Iterable[bytes], connections: int, seconds: float = float("inf")) -> Load:
    """Send requests over a number of connections, all of them or for a time."""
    address = urlsplit(url)
    waiting, taken, refused = iter(requests), list[float](), list[bytes]()

    async def run() -> float:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        clients = [
            await loop.create_connection(
                lambda: _Client(waiting, taken, refused, started + seconds), address.hostname or "", address.port or 80
            )
            for _ in range(connections)
        ]
        await asyncio.gather(*(client.done for _, client in clients))
        return time.perf_counter() - started

    taken_seconds = uvloop.run(run())
    if refused:
        print(f"the first of {len(refused)} answers that were no success: {refused[0][:600]!r}")
    return Load("bundled", taken_seconds, len(taken), len(refused), curve_of(taken))
