"""One reading of all collectors, cached for a few seconds however often it is scraped."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import redis
import sqlalchemy as sa
import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.reporting.exporter.collectors import controls, database, money, payouts, pending_work, provider

logger = structlog.get_logger(__name__)

CACHE_SECONDS = 3.0
"""How long a reading is served again."""
STATEMENT_TIMEOUT_SECONDS = 4
"""Limit for one statement: Prometheus waits ten seconds for all of them."""

DATABASE_COLLECTORS: Final[Mapping[str, Callable[[sa.Connection], Iterable[Metric]]]] = {
    "payouts": payouts.collect_payouts,
    "submissions": payouts.collect_submissions,
    "batches": payouts.collect_batches,
    "money": money.collect_balances,
    "due_rows": pending_work.collect_due_rows,
    "invariants": controls.collect_invariants,
    "reconciliation": controls.collect_reconciliation,
    "provider": provider.collect_provider_limits,
    "provider_events": provider.collect_provider_events,
    "webhooks": pending_work.collect_webhook_endpoints,
    "database": database.collect_database,
}
"""By their names in the metric `ovnpay_exporter_collector_up`."""
REDIS_COLLECTORS: Final[Mapping[str, Callable[["redis.Redis"], Iterable[Metric]]]] = {
    "queues": pending_work.collect_queues
}


class Exporter(Collector):
    """Runs the collectors when scraped. The metrics of one that fails are missing: a stale value would look valid."""

    def __init__(self, engine: sa.Engine, client: "redis.Redis") -> None:
        self._engine = engine
        self._client = client
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._metrics: list[Metric] = []

    def collect(self) -> list[Metric]:
        """Return the last reading if it is recent, or a new one."""
        with self._lock:
            if not self._metrics or time.monotonic() - self._read_at > CACHE_SECONDS:
                self._metrics = self._read()
                self._read_at = time.monotonic()
            return self._metrics

    def _read(self) -> list[Metric]:
        reading = _Reading()
        try:
            for name, collect in DATABASE_COLLECTORS.items():
                with self._engine.connect() as connection:  # an unreachable server costs one timeout, not eleven
                    reading.run(name, lambda collect=collect, at=connection: _collect(at, collect))  # type: ignore[misc]
        except sa.exc.SQLAlchemyError as error:
            logger.warning("exporter.no_database", why=str(error))
        for name, collect_redis in REDIS_COLLECTORS.items():
            reading.run(name, lambda collect_redis=collect_redis: collect_redis(self._client))  # type: ignore[misc]
        return reading.metrics()


def _collect(connection: sa.Connection, collect: Callable[[sa.Connection], Iterable[Metric]]) -> list[Metric]:
    """Run a collector in its own transaction, with a statement timeout."""
    with connection.begin():
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"))
        return list(collect(connection))


class _Reading:
    """The metrics read, and the success and duration of each collector."""

    def __init__(self) -> None:
        self._read: list[Metric] = []
        self._up = GaugeMetricFamily(
            "ovnpay_exporter_collector_up",
            "Whether a collector succeeded: 0 while its metrics are missing.",
            labels=["collector"],
        )
        self._seconds = GaugeMetricFamily(
            "ovnpay_exporter_collector_duration_seconds", "How long a collector took.", labels=["collector"]
        )
        self._missing = dict.fromkeys([*DATABASE_COLLECTORS, *REDIS_COLLECTORS])

    def run(self, name: str, collect: Callable[[], Iterable[Metric]]) -> None:
        """Run one collector; its failure does not affect the others."""
        started = time.monotonic()
        try:
            metrics = list(collect())
        except (sa.exc.SQLAlchemyError, redis.RedisError) as error:
            logger.warning("exporter.not_read", collector=name, why=str(error))
            return
        self._read += metrics
        self._seconds.add_metric([name], time.monotonic() - started)
        self._up.add_metric([name], 1)
        del self._missing[name]

    def metrics(self) -> list[Metric]:
        """Return everything read, with the metrics about the collectors."""
        for name in self._missing:
            self._up.add_metric([name], 0)
        return [*self._read, self._up, self._seconds]
