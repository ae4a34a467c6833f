"""The statements of the services, from pg_stat_statements: exact counts without noise."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import psycopg

_QUERY = """
    SELECT regexp_replace(query, '\\s+', ' ', 'g'), sum(calls)::int8, sum(rows)::int8, sum(total_exec_time),
           sum(wal_bytes)::int8
    FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid
    WHERE rolname = 'ovnpay_app' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY 1
"""


class Statement(NamedTuple):
    """A statement and its totals."""

    text: str
    calls: int
    rows: int
    milliseconds: float
    wal_bytes: int

    def minus(self, other: "Statement | None") -> "Statement":
        """Return the difference to an earlier reading."""
        if other is None:
            return self
        calls, rows, wal_bytes = self.calls - other.calls, self.rows - other.rows, self.wal_bytes - other.wal_bytes
        return Statement(self.text, calls, rows, self.milliseconds - other.milliseconds, wal_bytes)


def so_far(database: "psycopg.Connection[Any]") -> dict[str, Statement]:
    """Return the statements since the start of the server, by text."""
    return {(row := Statement(text.strip(), *rest)).text: row for text, *rest in database.execute(_QUERY).fetchall()}


def since(database: "psycopg.Connection[Any]", before: dict[str, Statement]) -> list[Statement]:
    """Return the statements since an earlier reading, the busiest first."""
    made = (row.minus(before.get(text)) for text, row in so_far(database).items())
    return sorted((row for row in made if row.calls), key=lambda row: -row.milliseconds)


def as_text(statements: Iterable[Statement]) -> str:
    """Return a table."""
    lines = [f"{'ms':>9} {'calls':>8} {'ms each':>9} {'rows':>9} {'WAL kB':>9}  statement"]
    lines += [
        f"{one.milliseconds:9.0f} {one.calls:8,} {one.milliseconds / one.calls:9.3f} {one.rows:9,} "
        f"{one.wal_bytes / 1000:9,.0f}  {one.text[:160]}"
        for one in statements
    ]
    return "\n".join([*lines, ""])
