"""HTTP requests as raw bytes, for what no client library sends."""

import re
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Headers = Iterable[tuple[str, bytes]]

_GRACE_SECONDS = 10  # a response that is this late is still reported with its time
_AFTERMATH_SECONDS = 1


@dataclass(frozen=True)
class RawAnswer:
    """A response. Status 0 means none: the connection was closed, or the time was up."""

    milliseconds: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    behind: bytes = b""  # bytes after the response
    closed: bool = False  # did the server close the connection?


def request(method: str, target: bytes, headers: Headers = (), body: bytes | None = None) -> bytes:
    """Return the bytes of a request. Host and Content-Length are added unless `headers` has them."""
    lines = list(headers)
    names = {name.lower() for name, _ in lines}
    if "host" not in names:
        lines.insert(0, ("Host", b"127.0.0.1"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(("Content-Length", str(len(body)).encode()))
    head = b"".join(name.encode("latin-1") + b": " + value + b"\r\n" for name, value in lines)
    return method.encode("latin-1") + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + (body or b"")


def chunked(body: bytes, size: int = 65_536) -> bytes:
    """Return a body in chunked transfer encoding."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def exchange(
    url: str,
    pieces: Iterable[bytes],
    seconds: float,
    *,
    method: str = "GET",
    pause_seconds: float = 0,
    send_all: bool = False,
    hang_up: bool = False,
    aftermath: bool = False,
) -> RawAnswer:
    """Send `pieces` with a pause after each, and read one response.

    Sending stops when the response begins, unless `send_all`: then everything is sent before anything is read, as
    simple clients do. `hang_up` closes the sending half. `aftermath` keeps reading after the response.
    """
    address = urlsplit(url)
    started = time.monotonic()
    deadline = started + seconds + _GRACE_SECONDS
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=seconds) as connection:
        wire = _Wire(connection, deadline)
        for piece in pieces:
            if not wire.send(piece, send_all) or (pause_seconds and wire.receive(pause_seconds)):
                break
        if hang_up and not wire.closed:
            connection.shutdown(socket.SHUT_WR)
        while (parsed := _parse(bytes(wire.received), method, wire.closed)) is None and not wire.closed:
            if not wire.receive(max(0, deadline - time.monotonic())):
                break
        milliseconds = (time.monotonic() - started) * 1000
        wire.deadline = time.monotonic() + _AFTERMATH_SECONDS
        while aftermath and not wire.closed and wire.receive(max(0, wire.deadline - time.monotonic())):
            pass
        if parsed is None:
            return RawAnswer(milliseconds, behind=bytes(wire.received), closed=wire.closed)
        status, headers, body, end = parsed
        return RawAnswer(milliseconds, status, headers, body, bytes(wire.received[end:]), wire.closed)


class _Wire:
    """A connection with the bytes received so far."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.received = bytearray()
        self.closed = False
        self.deadline = deadline
        self._connection = connection
        connection.setblocking(False)

    def send(self, piece: bytes, send_all: bool) -> bool:
        """Return False if the rest need not be sent."""
        rest = memoryview(piece)
        while rest:
            readers = [] if send_all else [self._connection]
            readable, writable, _ = select.select(readers, [self._connection], [], self._left())
            if readable:
                self._receive()
                return False
            if not writable:
                return False
            try:
                rest = rest[self._connection.send(rest) :]
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    def receive(self, seconds: float) -> bool:
        """Wait for at most `seconds`; True when something was received or the connection ended."""
        readable, _, _ = select.select([self._connection], [], [], min(seconds, self._left()))
        if readable:
            self._receive()
        return bool(readable)

    def _receive(self) -> None:
        try:
            chunk = self._connection.recv(1 << 20)
        except ConnectionError:
            chunk = b""
        self.received += chunk
        self.closed = not chunk

    def _left(self) -> float:
        return max(0, self.deadline - time.monotonic())


def _parse(received: bytes, method: str, closed: bool) -> tuple[int, dict[str, str], bytes, int] | None:
    """Status, headers, body and where the answer ends; None while it isn't complete."""
    start = 0
    while True:
        head_end = received.find(b"\r\n\r\n", start)
        line = re.match(rb"HTTP/\d\.\d (\d{3})[^\r\n]*\r\n", received[start:])
        if head_end < 0 or not line:
            return None
        status = int(line[1])
        if status >= 200:
            break
        start = head_end + 4  # 100 Continue is no answer
    headers = {}
    for text in received[start:head_end].decode("latin-1").split("\r\n")[1:]:
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    at = head_end + 4
    if method == "HEAD" or status in (204, 304):
        return status, headers, b"", at
    if "content-length" in headers:
        end = at + int(headers["content-length"])
        return (status, headers, received[at:end], end) if len(received) >= end else None
    return (status, headers, received[at:], len(received)) if closed else None
