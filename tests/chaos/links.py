"""A TCP proxy between two processes that delays, resets, refuses, and drops the replies to COMMIT."""

import asyncio
import itertools
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from tests.chaos.commit_replies import ServerReplies

_CHUNK_BYTES = 65_536


class Link:
    """A proxy from `port` to `targets` in turn; with `speaks_postgres` it can drop the replies to COMMIT."""

    def __init__(self, name: str, targets: Sequence[int], *, speaks_postgres: bool = False) -> None:
        self.name = name
        self.port = 0
        self.refuses = False
        self.delay_seconds = 0.0
        self.commits_to_lose = 0
        self.commits_lost = 0
        self.connections_reset = 0
        self.opened: list[tuple[float, int]] = []
        """The Unix time and the source port of each connection to the target, which identify its owner there."""
        self.in_the_air = asyncio.Event()
        """Set while a request has no answer."""
        self._awaited: set[asyncio.StreamWriter] = set()
        self._targets = itertools.cycle(targets)
        self._speaks_postgres = speaks_postgres
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def reset(self) -> None:
        """Reset every connection, as a restarted router does."""
        self.connections_reset += len(self._open) // 2
        for writer in list(self._open):
            _reset(writer)

    def heal(self) -> None:
        """Pass everything from now on."""
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
            replies = ServerReplies(self._loses_commit) if self._speaks_postgres else None
            ways = [
                asyncio.create_task(self._pass_requests(reader, back, replies)),
                asyncio.create_task(self._pass_answers(there, writer, replies, back)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            _reset(writer)  # nothing listens there: the client sees a server that is down
        finally:
            for end in ends:
                self._open.discard(end)
                self._mark_answered(end)
                with suppress(OSError):
                    end.close()
            self._serving.discard(task)

    def _mark_answered(self, writer: asyncio.StreamWriter) -> None:
        self._awaited.discard(writer)
        if not self._awaited:
            self.in_the_air.clear()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: ServerReplies | None
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if replies is not None:
                replies.observe_request(chunk)
            self._awaited.add(writer)
            self.in_the_air.set()
            await self._pass(chunk, writer)

    async def _pass_answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        replies: ServerReplies | None,
        requests: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            self._mark_answered(requests)
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
    """End a connection with a reset."""
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
