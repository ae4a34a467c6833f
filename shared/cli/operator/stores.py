"""Redis and the database, for commands that have to work while one of the two is away: each is asked, none awaited."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import redis
import sqlalchemy as sa

from shared.platform.database import make_engine
from shared.platform.settings import Settings, SettingsError, load_settings
from shared.platform.task_queue import redis_client

Answer = TypeVar("Answer")

STORE_TIMEOUT_SECONDS = 2.0
"""How long Redis has time to answer, and each statement of the database."""


class DataStores(NamedTuple):
    """Both."""

    settings: Settings
    engine: sa.Engine
    client: "redis.Redis"

    def of_database(self, ask: Callable[[sa.Connection], Answer]) -> Answer | str:
        """What the database says, or in a sentence why it does not. Its statements change nothing."""
        try:
            with self.engine.begin() as connection:
                limit = f"SET LOCAL statement_timeout = '{STORE_TIMEOUT_SECONDS:.0f}s'; SET TRANSACTION READ ONLY"
                connection.exec_driver_sql(limit)
                return ask(connection)
        except sa.exc.SQLAlchemyError as error:
            return _first_line(getattr(error, "orig", None) or error)

    def of_redis(self, ask: Callable[["redis.Redis"], Answer]) -> Answer | str:
        """What Redis says, or in a sentence why it does not."""
        try:
            return ask(self.client)
        except redis.RedisError as error:
            return _first_line(error)


@contextmanager
def open_stores() -> Iterator[DataStores]:
    """Neither is called yet. Exits with 2 where the settings won't do."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    engine = make_engine(settings, "cli", pool_size=1)
    client = redis_client(settings, timeout_seconds=STORE_TIMEOUT_SECONDS)
    try:
        yield DataStores(settings, engine, client)
    finally:
        client.close()
        engine.dispose()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
