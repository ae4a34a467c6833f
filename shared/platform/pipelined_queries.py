"""Several statements in one round trip to the database: libpq's pipeline mode, under SQLAlchemy's connection.

They are carried out one after the other, each seeing what the ones before it did, as if they had been sent one by one:
a lock that is waited for holds when the next begins. What is saved is the client's turn between them, which on a busy
gateway costs more than most of the statements: a thread that has got its answer waits for the interpreter's lock.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from shared.platform.database import remove_values

T = TypeVar("T")

_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Query(NamedTuple, Generic[T]):
    """A statement that has not been asked yet."""

    statement: sa.TextClause
    values: dict[str, Any]
    read: Callable[[Sequence[Any]], T]
    """What its rows, which are tuples, mean; may raise."""


def no_result(rows: Sequence[Any]) -> None:
    """The reading of a statement that returns nothing."""


def run_queries(connection: sa.Connection, *asked: Query[Any] | None) -> list[Any]:
    """Asks all of them in one round trip, in order; what each means, and None of each None.

    Raises:
        sqlalchemy.exc.DBAPIError: the first that failed, as `Connection.execute` raises it; those after it were not
            carried out.

    """
    queries = [query for query in asked if query is not None]
    if len(queries) < 2:
        results = [connection.execute(query.statement, query.values) for query in queries]
        found = [result.all() if result.returns_rows else [] for result in results]
    else:
        found = run_in_one_round_trip(connection, queries)
    following = iter(found)
    return [None if query is None else query.read(next(following)) for query in asked]


def run_in_one_round_trip(connection: sa.Connection, queries: Sequence[Query[Any]]) -> list[Sequence[Any]]:
    """The rows of each."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.pipeline():
            cursors = [driver.execute(_sql(query.statement), query.values) for query in queries]
        # A cursor's description describes each column anew: too dear for the question whether there are any.
        return [cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else [] for cursor in cursors]
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(error, connection.connection, None)  # type: ignore[arg-type]
        failed = sa.exc.DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost, dialect=_DIALECT
        )
        assert isinstance(failed, sa.exc.DBAPIError)
        remove_values(error, failed)
        if lost:
            connection.invalidate(error)
        raise failed from error


@lru_cache(maxsize=256)
def _sql(statement: sa.TextClause) -> str:
    """The statement as psycopg takes it."""
    return str(statement.compile(dialect=_DIALECT))
