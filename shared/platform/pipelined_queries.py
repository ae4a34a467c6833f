"""Several statements in one round trip to the database: libpq's pipeline mode under SQLAlchemy's connection.

The server runs them one after the other, as if sent one by one: a lock that one waits for is held when the next begins.
On a busy gateway the saved time between them exceeds that of most statements: a thread that gets a result waits for the
interpreter's lock.
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
    """A statement to be sent later, with its parameters and the function that interprets its rows."""

    statement: sa.TextClause
    values: dict[str, Any]
    read: Callable[[Sequence[Any]], T]
    """Converts the rows (tuples) into the result; may raise."""


def no_result(rows: Sequence[Any]) -> None:
    """Ignore the rows: for statements that return none."""


def run_queries(connection: sa.Connection, *wanted: Query[Any] | None) -> list[Any]:
    """Run the queries in order, in one round trip, and return their results; None for each None.

    Raises:
        sqlalchemy.exc.DBAPIError: the first that failed, as `Connection.execute` raises it; later ones did not run.

    """
    queries = [query for query in wanted if query is not None]
    if len(queries) < 2:
        results = [connection.execute(query.statement, query.values) for query in queries]
        found = [result.all() if result.returns_rows else [] for result in results]
    else:
        found = run_in_one_round_trip(connection, queries)
    following = iter(found)
    return [None if query is None else query.read(next(following)) for query in wanted]


def run_in_one_round_trip(connection: sa.Connection, queries: Sequence[Query[Any]]) -> list[Sequence[Any]]:
    """Return the rows of each query; errors as `run_queries` raises them."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.pipeline():
            cursors = [driver.execute(_sql(query.statement), query.values) for query in queries]
        # Not `cursor.description`: it describes every column, only to say whether there are any.
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
    return str(statement.compile(dialect=_DIALECT))
