"""Time zones of organizations: their analytics count days, weeks, months and years in it."""

import uuid
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest
from shared.reporting.analytics.facts import FAILURE_SUMS, LOCAL_TIME_SQL, OUTCOME_SUMS, TOTAL_SUMS, sum_rows_query
from shared.schema.ledger import Grain

CALENDAR_GRAINS: Final = (Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.YEAR)
"""Grains that depend on the time zone."""


def load_time_zone(connection: sa.Connection, organization_id: uuid.UUID) -> str:
    """Return the organization's time zone."""
    return str(
        connection.scalar(sa.text("SELECT time_zone FROM organizations WHERE id = :id"), {"id": organization_id})
    )


def set_time_zone(connection: sa.Connection, organization_id: uuid.UUID, time_zone: str) -> None:
    """Set the time zone, and compute the organization's sums again from its quarters of an hour, in this transaction.

    Locks the organization, then its wallets' rows of `analytics_folds`; takes seconds for millions of payouts. Set the
    same zone again after its rules changed.

    Raises:
        InvalidRequest: there is no such time zone.

    """
    known = connection.scalar(
        sa.text(r"""
            SELECT true FROM pg_timezone_names
            WHERE name = :name AND name !~ '^(posix|right)/' AND name NOT IN ('Factory', 'localtime', 'posixrules')
        """),
        {"name": time_zone},
    )
    if not known:
        raise InvalidRequest(
            f"There is no time zone {time_zone[:100]!r}; use an IANA name such as America/Chicago", field="timeZone"
        )
    values = {"id": organization_id, "zone": time_zone}
    # The organization first, as in a sandbox reset: no wallet can be opened meanwhile.
    connection.execute(sa.text("UPDATE organizations SET time_zone = :zone WHERE id = :id"), values)
    connection.execute(
        sa.text("""
            INSERT INTO analytics_folds (wallet_id) SELECT id FROM wallets WHERE organization_id = :id
            ORDER BY id ON CONFLICT DO NOTHING
        """),
        values,
    )
    wallet_ids = list(
        connection.scalars(
            sa.text("""
                SELECT wallet_id FROM analytics_folds JOIN wallets ON wallets.id = wallet_id
                WHERE organization_id = :id ORDER BY wallet_id FOR UPDATE OF analytics_folds
            """),
            values,
        )
    )
    for statement in _RECOMPUTE:
        connection.execute(statement, {"wallet_ids": wallet_ids, "zone": time_zone})


def _recompute_queries(
    table: str,
    key: Sequence[str],
    sums: Sequence[str],
    positions: Sequence[tuple[str, str]] = (),
    *,
    waits: bool = True,
) -> list[sa.TextClause]:
    names = [*key, *sums, *(name for name, _ in positions), *(["waits"] if waits else [])]
    more = [aggregate for _, aggregate in positions]
    inserts = [
        sa.text(f"""
            WITH found AS MATERIALIZED (
                SELECT *, date_trunc('{grain}', {LOCAL_TIME_SQL.format(quarter="starts")}) AS began
                FROM {table} WHERE wallet_id = ANY(:wallet_ids) AND grain = 'quarter'
            ), computed AS ({sum_rows_query("found", ["wallet_id", "began", *key], sums, *more, waits=waits)})
            INSERT INTO {table} (grain, wallet_id, starts, {", ".join(names)})
            SELECT '{grain}', wallet_id, began, {", ".join(names)} FROM computed
        """)
        for grain in CALENDAR_GRAINS
    ]
    return [sa.text(f"DELETE FROM {table} WHERE wallet_id = ANY(:wallet_ids) AND grain <> 'quarter'"), *inserts]


_RECOMPUTE: Final = (
    *_recompute_queries(
        "analytics_totals",
        ["rail"],
        list(TOTAL_SUMS),
        [
            ("first_position", "min(first_position) AS first_position"),
            ("last_position", "max(last_position) AS last_position"),
        ],
    ),
    *_recompute_queries("analytics_drivers", ["driver_id"], list(OUTCOME_SUMS)),
    *_recompute_queries("analytics_failures", ["rail", "outcome", "code"], list(FAILURE_SUMS), waits=False),
)
