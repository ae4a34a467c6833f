"""Serve the exporter's metrics until stopped: `python -m shared.reporting.exporter`."""

import argparse
import signal
import sys
import threading

import structlog

from shared.platform import logs
from shared.platform.database import make_engine
from shared.platform.metrics_server import MetricsServer, registry_of
from shared.platform.settings import Settings, SettingsError
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue import redis_client
from shared.reporting.exporter.snapshot import CACHE_SECONDS, Exporter

logger = structlog.get_logger(__name__)

_DESCRIPTION = f"""\
Serve the state of the database and of Redis as Prometheus metrics: payouts and their ages, queues, due rows, balances,
provider limits. Run one per installation; a second does no harm. It reads at most every {CACHE_SECONDS:.0f} s over one
connection and changes nothing. It starts without the servers; while it can't read something, those metrics are missing
and ovnpay_exporter_collector_up is 0.
"""
_EPILOG = """\
environment:
  OVNPAY_EXPORTER_METRICS_PORT   port of /metrics and /health (default: 9104)
  OVNPAY_DATABASE_URL, OVNPAY_REDIS_URL
"""

CONNECTIONS = 1
"""Database connections of the exporter: it runs one query at a time."""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ovnpay exporter", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    parser.parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"ovnpay exporter: {error}", file=sys.stderr)
        return 2
    logs.configure_logging(settings, "exporter")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    run_exporter(settings, stopping)
    return 0


def run_exporter(settings: Settings, stopping: threading.Event) -> None:
    """Serve until `stopping` is set."""
    engine = make_engine(settings, "exporter", pool_size=CONNECTIONS)
    redis = redis_client(settings, timeout_seconds=1.0)
    registry = registry_of(Exporter(engine, redis))
    server = MetricsServer(settings.exporter_metrics_port, lambda: registry, lambda: None, host=settings.metrics_host)
    server.start()
    logger.info("exporter.started", port=server.port)
    stopping.wait()
    server.stop()
    redis.close()
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
