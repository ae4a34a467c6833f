"""A customer's webhook receiver: an HTTP server on loopback whose paths each behave in one way."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple


class ReceivedRequest(NamedTuple):
    """A received request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_seconds: float
    """Of the monotonic clock."""


BOMB: Final = gzip.compress(b"\0" * 50_000_000)


class Receiver(ThreadingHTTPServer):
    """Records requests. `/fail/N` fails N times and then succeeds; see `Handler` for the other paths."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[ReceivedRequest] = []
        self.cut: list[str] = []
        """Paths whose client did not read the whole response."""
        self.stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""

    def at(self, path: str) -> list[ReceivedRequest]:
        """Return the requests to a path."""
        return [one for one in self.received if one.path == path]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(ReceivedRequest(self.path, dict(self.headers.items()), body, time.monotonic()))
        kind, _, argument = self.path[1:].partition("/")
        match kind:
            case "hang":
                self.server.stopping.wait(30)
            case "slow":
                time.sleep(float(argument.split("/")[0]))
                self._answer(200)
            case "status":
                self._answer(int(argument.split("/")[0]))
            case "fail":
                failures = int(argument.split("/")[0])
                self._answer(500 if len(self.server.at(self.path)) <= failures else 200)
            case "redirect":
                self._answer(302, Location=f"{self.server.url}/redirected")
            case "later":
                self._answer(503, b"", **{"Retry-After": argument})
            case "endless":
                self._endless()
            case "bomb":
                self._answer(200, BOMB, **{"Content-Encoding": "gzip"})
            case "nonsense":
                self.wfile.write(b"220 smtp.example.com ESMTP\r\n")
            case "hangs-after-headers":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12")
                self.server.stopping.wait(30)
            case _:
                self._answer(200, b"a reply that is never shown")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.server.cut.append(self.path)

    def _endless(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while not self.server.stopping.is_set():
                self.wfile.write(b"x" * 65_536)
        except OSError:
            self.server.cut.append(self.path)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver while the block runs."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
