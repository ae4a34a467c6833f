"""`python -m shared.reporting.exporter`: serves the exporter's metrics until it is stopped."""

import argparse
import signal
import sys
import threading

import structlog

from shared.platform import logs
from shared.platform.database import make_engine
from shared.platform.metrics_server import MetricsServer, registry_of
from shared.platform.settings import Settings, SettingsError, load_settings
from shared.platform.task_queue import redis_client
from shared.reporting.exporter.snapshot import CACHE_SECONDS, Exporter

logger = structlog.get_logger(__name__)

_DESCRIPTION = f"""\
Say what is in the database and in Redis, as metrics: payouts and their age by status, queues, due rows, the ledger,
what the provider was asked. One for the installation; a second does no harm. It reads at most every
{CACHE_SECONDS:.0f} s, over one connection, changes nothing, and needs neither server in order to start: what it can't
read is missing from its metrics, and ovnpay_exporter_collector_up says so.
"""
_EPILOG = """\
environment:
  OVNPAY_EXPORTER_METRICS_PORT   where it serves /metrics and /health (default: 9104)
  OVNPAY_DATABASE_URL, OVNPAY_REDIS_URL
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
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
    """Serves until `stopping` is set."""
    engine = make_engine(settings, "exporter", pool_size=1)
    redis = redis_client(settings, timeout_seconds=1.0)
    registry = registry_of(Exporter(engine, redis))
    exposition = MetricsServer(
        settings.exporter_metrics_port, lambda: registry, lambda: None, host=settings.metrics_host
    )
    exposition.start()
    logger.info("exporter.started", port=exposition.port)
    stopping.wait()
    exposition.stop()
    redis.close()
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
