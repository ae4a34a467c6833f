"""What is between two processes: a TCP proxy that delays, resets, refuses, and drops the replies to COMMIT."""

import asyncio
import itertools
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from tests.chaos.commits import Replies

_CHUNK_BYTES = 65_536


class Link:
    """One way between two processes. It listens on `port` and connects to `targets` in turn.

    `speaks_postgres` lets it know a COMMIT's reply.
    """

    def __init__(self, name: str, targets: Sequence[int], *, speaks_postgres: bool = False) -> None:
        self.name = name
        self.port = 0
        self.refuses = False
        self.delay_seconds = 0.0
        self.commits_to_lose = 0
        self.commits_lost = 0
        self.connections_reset = 0
        self.opened: list[tuple[float, int]] = []
        """When (Unix time) each connection to the target was opened, and from which port, by which the target knows
        whose it is."""
        self.in_the_air = asyncio.Event()
        """Set while something was asked that is not answered yet."""
        self._awaited: set[asyncio.StreamWriter] = set()
        self._targets = itertools.cycle(targets)
        self._speaks_postgres = speaks_postgres
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Takes a free port and listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def reset(self) -> None:
        """Resets every connection, as a router does that has lost its memory."""
        self.connections_reset += len(self._open) // 2
        for writer in list(self._open):
            _reset(writer)

    def heal(self) -> None:
        """From now on everything passes."""
        self.refuses, self.delay_seconds, self.commits_to_lose = False, 0.0, 0

    def _loses_commit(self) -> bool:
        if self.commits_to_lose <= 0:
            return False
        self.commits_to_lose -= 1
        self.commits_lost += 1
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        ends = [writer]
        self._open.add(writer)
        try:
            if self.refuses:
                _reset(writer)
                return
            there, back = await asyncio.open_connection("127.0.0.1", next(self._targets), limit=_CHUNK_BYTES)
            ends.append(back)
            self._open.add(back)
            self.opened.append((time.time(), back.get_extra_info("sockname")[1]))
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            replies = Replies(self._loses_commit) if self._speaks_postgres else None
            ways = [
                asyncio.create_task(self._asks(reader, back, replies)),
                asyncio.create_task(self._answers(there, writer, replies, back)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            _reset(writer)  # there is nobody: the client sees a server that is down
        finally:
            for end in ends:
                self._open.discard(end)
                self._no_more_awaits(end)
                with suppress(OSError):
                    end.close()
            self._serving.discard(task)

    def _no_more_awaits(self, writer: asyncio.StreamWriter) -> None:
        self._awaited.discard(writer)
        if not self._awaited:
            self.in_the_air.clear()

    async def _asks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: Replies | None) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if replies is not None:
                replies.asked(chunk)
            self._awaited.add(writer)
            self.in_the_air.set()
            await self._pass(chunk, writer)

    async def _answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        replies: Replies | None,
        asked: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            self._no_more_awaits(asked)
            passed, ends = (chunk, False) if replies is None else replies.feed(chunk)
            if passed:
                await self._pass(passed, writer)
            if ends:
                _reset(writer)
                return

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        writer.write(chunk)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a reset instead of a farewell."""
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
