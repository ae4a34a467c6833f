"""One reading of everything: each collector on its own, kept for a few seconds, however many ask."""

import threading
import time
from collections.abc import Callable, Iterable

import redis
import sqlalchemy as sa
import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.reporting.exporter.collectors import DATABASE_COLLECTORS, REDIS_COLLECTORS

logger = structlog.get_logger(__name__)

CACHE_SECONDS = 3.0
"""How long a reading is given again."""
STATEMENT_TIMEOUT_SECONDS = 4
"""How long a statement may take: Prometheus waits ten seconds for all of them."""


class Exporter(Collector):
    """Reads when it is asked. What can't be read is left out: an old figure would look like a good one."""

    def __init__(self, engine: sa.Engine, client: "redis.Redis") -> None:
        self._engine = engine
        self._client = client
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._metrics: list[Metric] = []

    def collect(self) -> list[Metric]:
        """The latest reading, or a new one."""
        with self._lock:
            if not self._metrics or time.monotonic() - self._read_at > CACHE_SECONDS:
                self._metrics = self._read()
                self._read_at = time.monotonic()
            return self._metrics

    def _read(self) -> list[Metric]:
        report = _Report()
        try:
            for name, read in DATABASE_COLLECTORS.items():
                with self._engine.connect() as connection:  # a server that is not there is waited for once
                    report.run(name, lambda read=read, at=connection: _in_time(at, read))  # type: ignore[misc]
        except sa.exc.SQLAlchemyError as error:
            logger.warning("exporter.no_database", why=str(error))
        for name, of_redis in REDIS_COLLECTORS.items():
            report.run(name, lambda of_redis=of_redis: of_redis(self._client))  # type: ignore[misc]
        return report.metrics()


def _in_time(connection: sa.Connection, read: Callable[[sa.Connection], Iterable[Metric]]) -> list[Metric]:
    """Reads in a transaction of its own, each statement of which is given up after a while."""
    with connection.begin():
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"))
        return list(read(connection))


class _Report:
    """What was read, and how each collector fared."""

    def __init__(self) -> None:
        self._read: list[Metric] = []
        self._up = GaugeMetricFamily(
            "ovnpay_exporter_collector_up",
            "Whether a collector could read what it is for: 0 while its metrics are missing.",
            labels=["collector"],
        )
        self._seconds = GaugeMetricFamily(
            "ovnpay_exporter_collector_duration_seconds", "How long a collector took.", labels=["collector"]
        )
        self._missing = dict.fromkeys([*DATABASE_COLLECTORS, *REDIS_COLLECTORS])

    def run(self, name: str, read: Callable[[], Iterable[Metric]]) -> None:
        """Runs one collector; it fails alone."""
        started = time.monotonic()
        try:
            found = list(read())
        except (sa.exc.SQLAlchemyError, redis.RedisError) as error:
            logger.warning("exporter.not_read", collector=name, why=str(error))
            return
        self._read += found
        self._seconds.add_metric([name], time.monotonic() - started)
        self._up.add_metric([name], 1)
        del self._missing[name]

    def metrics(self) -> list[Metric]:
        """All of it."""
        for name in self._missing:
            self._up.add_metric([name], 0)
        return [*self._read, self._up, self._seconds]
