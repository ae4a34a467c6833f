"""Redis and the database, for commands that work without one of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import redis
import sqlalchemy as sa

from shared.cli.operator.environment import load_operator_settings
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import redis_client

T = TypeVar("T")

STORE_TIMEOUT_SECONDS = 2.0
"""Timeout of Redis, and of each database statement."""


class DataStores(NamedTuple):
    """Clients of both stores; neither is connected yet."""

    settings: Settings
    engine: sa.Engine
    client: "redis.Redis"

    def query_database(self, query: Callable[[sa.Connection], T]) -> T | str:
        """Run `query` in a read-only transaction; return its result, or the error as text."""
        try:
            with self.engine.begin() as connection:
                limit = f"SET LOCAL statement_timeout = '{STORE_TIMEOUT_SECONDS:.0f}s'; SET TRANSACTION READ ONLY"
                connection.exec_driver_sql(limit)
                return query(connection)
        except sa.exc.SQLAlchemyError as error:
            return _first_line(getattr(error, "orig", None) or error)

    def query_redis(self, query: Callable[["redis.Redis"], T]) -> T | str:
        """Run `query`; return its result, or the error as text."""
        try:
            return query(self.client)
        except redis.RedisError as error:
            return _first_line(error)


@contextmanager
def open_stores() -> Iterator[DataStores]:
    """Yield both stores; invalid settings are printed and exit with code 2."""
    settings = load_operator_settings()
    engine = make_engine(settings, "cli", pool_size=1)
    client = redis_client(settings, timeout_seconds=STORE_TIMEOUT_SECONDS)
    try:
        yield DataStores(settings, engine, client)
    finally:
        client.close()
        engine.dispose()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
