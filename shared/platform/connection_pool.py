"""SQLAlchemy's connection pool, with metrics and a check of connections that were idle."""

import time
from typing import Any

import psycopg
import sqlalchemy as sa
from prometheus_client import Gauge

IDLE_CHECK_SECONDS = 1.0
"""A connection unused for longer is checked at checkout; a check costs a round trip, a quarter of a millisecond."""

IN_USE = Gauge("ovnpay_database_pool_in_use", "Connections in use, by pool.", ["pool"], multiprocess_mode="livesum")
SIZE = Gauge("ovnpay_database_pool_size", "Maximum connections of a pool.", ["pool"], multiprocess_mode="livesum")
WAITING = Gauge(
    "ovnpay_database_pool_waiting", "Threads waiting for a connection, by pool.", ["pool"], multiprocess_mode="livesum"
)


class MeasuredPool(sa.QueuePool):
    """A pool that reports metrics under its `logging_name`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        name = self._orig_logging_name or "other"
        self._in_use, self._waiting = IN_USE.labels(name), WAITING.labels(name)
        SIZE.labels(name).set(self.size())

    def connect(self) -> sa.PoolProxiedConnection:
        self._waiting.inc()
        try:
            return super().connect()
        finally:
            self._waiting.dec()
            self._in_use.set(self.checkedout())

    def _do_return_conn(self, record: Any) -> None:
        super()._do_return_conn(record)
        self._in_use.set(self.checkedout())


def record_use(connection: Any, record: Any) -> None:
    """Note the time of the last use: for the pool's `checkin` event."""
    record.info["used_at"] = time.monotonic()


def check_if_idle(connection: Any, record: Any, proxy: Any) -> None:
    """Check a connection that was idle, for the pool's `checkout` event; raises sqlalchemy.exc.DisconnectionError."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < IDLE_CHECK_SECONDS:
        return
    # By libpq: a rollback of psycopg's transaction would drop its prepared statements.
    try:
        alive = connection.pgconn.exec_(b"SELECT 1").status == psycopg.pq.ExecStatus.TUPLES_OK
    except psycopg.Error as error:
        raise sa.exc.DisconnectionError from error
    if not alive:
        raise sa.exc.DisconnectionError
