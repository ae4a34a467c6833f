"""The operator's port of a process: `/metrics` for Prometheus, `/health` and `/health/live` for whoever restarts it."""

import platform
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.platform.process_metrics import delete_stale_gauges

# When each series began: a second series for each, that no query of ours asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsServer:
    """A small HTTP server in a thread of its own."""

    def __init__(
        self, port: int, registry: Callable[[], CollectorRegistry], healthy: Callable[[], str | None], host: str = ""
    ) -> None:
        """`healthy` says what is wrong, or None; `registry` is asked anew for each scrape."""
        build = generate_latest(registry_of(_Build()))

        class Handler(BaseHTTPRequestHandler):
            def version_string(self) -> str:
                return "OVN Pay"

            def do_GET(self) -> None:
                if self.path.partition("?")[0] == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry()) + build)
                elif self.path == "/health/live":  # that this thread answers; what it needs may be away
                    self._answer(200, "text/plain", b"live\n")
                elif self.path in ("/health", "/health/ready"):
                    wrong = healthy()
                    self._answer(200 if wrong is None else 503, "text/plain", (wrong or "healthy").encode() + b"\n")
                else:
                    self._answer(404, "text/plain", b"/metrics, /health, /health/live or /health/ready\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Scrapes are not worth a line."""

        self._server = ThreadingHTTPServer((host or "127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="exposition", daemon=True)

    def start(self) -> None:
        """Serves in the background."""
        self._thread.start()

    def run(self) -> None:
        """Serves in the foreground, until the process is stopped."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()


class _Build(Collector):
    """Which version runs: a gauge that is always 1, as the field has it."""

    def collect(self) -> list[GaugeMetricFamily]:
        text = "Which version of OVN Pay runs, and on which Python; always 1."
        family = GaugeMetricFamily("ovnpay_build_info", text, labels=["version", "python"])
        family.add_metric([metadata.version("ovnpay"), platform.python_version()], 1)
        return [family]


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """A registry of these collectors alone."""
    made = CollectorRegistry()
    for collector in collectors:
        made.register(collector)
    return made


def multiprocess_registry(folder: Path) -> CollectorRegistry:
    """The figures of all processes that count in a folder, added up; those of processes that are no more stay, but for
    what they said of their present.
    """
    delete_stale_gauges(folder)
    made = CollectorRegistry()
    MultiProcessCollector(made, path=str(folder))  # type: ignore[no-untyped-call]
    return made
