"""A pool of database connections that says how many are in use, and how many threads wait for one."""

from typing import Any

import sqlalchemy as sa
from prometheus_client import Gauge

IN_USE = Gauge(
    "ovnpay_database_pool_in_use", "Connections that are in use, by pool.", ["pool"], multiprocess_mode="livesum"
)
SIZE = Gauge("ovnpay_database_pool_size", "Connections that a pool may have.", ["pool"], multiprocess_mode="livesum")
WAITING = Gauge(
    "ovnpay_database_pool_waiting",
    "Threads that wait for a connection, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)


class MeasuredPool(sa.QueuePool):
    """SQLAlchemy's pool, with figures under the pool's `logging_name`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        name = self._orig_logging_name or "other"
        self._in_use, self._waiting = IN_USE.labels(name), WAITING.labels(name)
        SIZE.labels(name).set(self.size())

    def connect(self) -> sa.PoolProxiedConnection:
        """Takes a connection; the pool's time-out holds for that."""
        self._waiting.inc()
        try:
            return super().connect()
        finally:
            self._waiting.dec()
            self._in_use.set(self.checkedout())

    def _do_return_conn(self, record: Any) -> None:
        super()._do_return_conn(record)
        self._in_use.set(self.checkedout())
