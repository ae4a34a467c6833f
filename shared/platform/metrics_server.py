"""The operator's port of a process: `/metrics` for Prometheus, `/health` and `/health/live` for health checks."""

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

# Creation times double the number of series, and none of our queries uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsServer:
    """A small HTTP server in its own thread."""

    def __init__(
        self, port: int, registry: Callable[[], CollectorRegistry], problem: Callable[[], str | None], host: str = ""
    ) -> None:
        """`registry` is called for each scrape; `problem` returns what makes the process unhealthy, or None."""
        build = generate_latest(registry_of(_BuildInfo()))

        class Handler(BaseHTTPRequestHandler):
            def version_string(self) -> str:
                return "OVN Pay"

            def do_GET(self) -> None:
                if self.path.partition("?")[0] == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry()) + build)
                elif self.path == "/health/live":  # this thread answers; dependencies may be down
                    self._answer(200, "text/plain", b"live\n")
                elif self.path in ("/health", "/health/ready"):
                    reason = problem()
                    self._answer(200 if reason is None else 503, "text/plain", (reason or "healthy").encode() + b"\n")
                else:
                    self._answer(404, "text/plain", b"/metrics, /health, /health/live or /health/ready\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host or "127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def run(self) -> None:
        """Serve in the foreground, until the process is stopped."""
        self._server.serve_forever()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _BuildInfo(Collector):
    """The running version, as labels of a gauge that is always 1."""

    def collect(self) -> list[GaugeMetricFamily]:
        text = "The running version of OVN Pay and of Python, as labels; always 1."
        family = GaugeMetricFamily("ovnpay_build_info", text, labels=["version", "python"])
        family.add_metric([metadata.version("ovnpay"), platform.python_version()], 1)
        return [family]


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """Make a registry of these collectors alone."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def multiprocess_registry(folder: Path) -> CollectorRegistry:
    """Make a registry with the sums of all processes of a folder; counts of ended processes stay, live gauges don't."""
    delete_stale_gauges(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry
