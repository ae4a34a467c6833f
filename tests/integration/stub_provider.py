"""Stub of Paystream for tests of single calls: an HTTP server on loopback with scripted responses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec

from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient


class ReceivedRequest(NamedTuple):
    """A request that the stub received."""

    method: str
    path: str
    key: str | None
    body: bytes


Responder = Callable[[ReceivedRequest], tuple[int, dict[str, str], bytes]]


def provider_response(data: Any, status: int = 200, **meta: Any) -> tuple[int, dict[str, str], bytes]:
    """Return a success, or an error if the status is 4xx or 5xx, in Paystream's envelope."""
    content = {"data": data, "meta": meta} if status < 400 else {"error": data}
    return status, {}, json.dumps(content).encode()


@contextmanager
def serve_provider(respond_to: Responder) -> Iterator[tuple[str, list[ReceivedRequest]]]:
    """Run the stub; yield its base URL and the list of received requests."""
    requests: list[ReceivedRequest] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = ReceivedRequest(self.command, self.path, self.headers.get("Idempotency-Key"), body)
            requests.append(request)
            status, headers, content = respond_to(request)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = respond

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def client_of_stub(
    settings: Settings, respond_to: Responder, **changes: Any
) -> Iterator[tuple[PaystreamClient, list[ReceivedRequest]]]:
    """Yield a client of a stub, and the list of requests that the stub received."""
    with serve_provider(respond_to) as (url, requests):
        chosen = msgspec.structs.replace(settings, paystream_url=url, **changes)
        engine = make_engine(chosen, "calls", pool_size=2)
        client = PaystreamClient(chosen, CallBudget(chosen, engine))
        try:
            yield client, requests
        finally:
            client.close()
            engine.dispose()
