"""A proxy between a client and the gateway that loses responses after the request has arrived."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class LossyProxy:
    """Forwards everything to `url`, and drops the responses for which `loses(method, path)` is true."""

    def __init__(self, url: str) -> None:
        self.loses: Callable[[str, str], bool] = lambda method, path: False
        self.requests: list[tuple[str, str]] = []
        self.lost = threading.Event()
        self._target = urlsplit(url)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Forward one request."""
        self.requests.append((handler.command, handler.path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        assert self._target.hostname
        gateway = http.client.HTTPConnection(self._target.hostname, self._target.port, timeout=30)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "host"}
            gateway.request(handler.command, handler.path, body or None, headers)
            response = gateway.getresponse()
            content = response.read()
        finally:
            gateway.close()
        if self.loses(handler.command, handler.path):
            handler.close_connection = True
            self.lost.set()
            return
        handler.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def running_proxy(url: str) -> Iterator[tuple[LossyProxy, str]]:
    """Run a proxy; yield it and its URL."""
    proxy = LossyProxy(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.serve(self)

        do_POST = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            """Silent: the gateway logs the request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
