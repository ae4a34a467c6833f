"""A storm of ready-made requests over kept-alive connections, written on asyncio's protocols: on two cores the client
must cost little, or it is what is measured."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\r\n", re.IGNORECASE)


class Storm(NamedTuple):
    """What came of it."""

    seconds: float
    milliseconds: list[float]
    """How long each answer took, sorted."""
    refused: int
    """Answers other than 200."""

    @property
    def a_second(self) -> float:
        """Answers a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, of_a_hundred: float) -> float:
        """In milliseconds."""
        return self.milliseconds[min(int(len(self.milliseconds) * of_a_hundred / 100), len(self.milliseconds) - 1)]

    def line(self, name: str) -> str:
        """A line of the table."""
        p50, p99 = self.percentile(50), self.percentile(99)
        return f"{name:44} {self.a_second:8,.0f}/s   p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"


class _Client(asyncio.Protocol):
    """One connection: sends the next request as soon as the one before is answered."""

    def __init__(self, waiting: list[bytes], taken: list[float], refused: list[bytes]) -> None:
        self._waiting, self._taken, self._refused = waiting, taken, refused
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
        if not head.startswith(b"HTTP/1.1 200"):
            self._refused.append(self._received)
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection"))

    def _next(self) -> None:
        if self._waiting:
            self._sent_at = time.perf_counter()
            self._transport.write(self._waiting.pop())
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def storm(url: str, requests: Sequence[bytes], connections: int) -> Storm:
    """Sends all of them over so many connections, as fast as they are answered."""
    address = urlsplit(url)
    waiting, taken, refused = list(reversed(requests)), list[float](), list[bytes]()

    async def run() -> float:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        clients = [
            await loop.create_connection(lambda: _Client(waiting, taken, refused), address.hostname, address.port)
            for _ in range(connections)
        ]
        await asyncio.gather(*(client.done for _, client in clients))
        return time.perf_counter() - started

    seconds = uvloop.run(run())
    return Storm(seconds, sorted(taken), len(refused))
