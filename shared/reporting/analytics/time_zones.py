"""Zones: in which an organization counts its days. Setting another one counts them anew, in the same transaction."""

import uuid
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest
from shared.reporting.analytics.facts import FAILURE_SUMS, LOCAL_TIME_SQL, OUTCOME_SUMS, TOTAL_SUMS, sum_rows_query
from shared.schema.ledger import Grain

CALENDAR_GRAINS: Final = (Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.YEAR)
"""The grains that are the local calendar's."""


def load_time_zone(connection: sa.Connection, organization_id: uuid.UUID) -> str:
    """The organization's zone."""
    return str(
        connection.scalar(sa.text("SELECT time_zone FROM organizations WHERE id = :id"), {"id": organization_id})
    )


def set_time_zone(connection: sa.Connection, organization_id: uuid.UUID, time_zone: str) -> None:
    """Sets the organization's zone, and makes its days, weeks, months and years again from its quarters of an hour.

    Nobody folds meanwhile, and whoever reads sees the old zone with the old days or the new with the new. Takes
    seconds for millions of payouts; setting the same zone again is how its new rules are taken up, should it get some.

    Raises:
        Invalid: there is no such zone.

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
            f"There is no time zone {time_zone[:100]!r}; say one as in America/Chicago", field="timeZone"
        )
    values = {"id": organization_id, "zone": time_zone}
    # The organization first, as a sandbox reset does: it can't open a wallet meanwhile that we don't see.
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
    for statement in _ANEW:
        connection.execute(statement, {"wallet_ids": wallet_ids, "zone": time_zone})


def _anew(
    table: str,
    key: Sequence[str],
    sums: Sequence[str],
    positions: Sequence[tuple[str, str]] = (),
    *,
    waits: bool = True,
) -> list[sa.TextClause]:
    names = [*key, *sums, *(name for name, _ in positions), *(["waits"] if waits else [])]
    more = [aggregate for _, aggregate in positions]
    made = [
        sa.text(f"""
            WITH found AS MATERIALIZED (
                SELECT *, date_trunc('{grain}', {LOCAL_TIME_SQL.format(quarter="starts")}) AS began
                FROM {table} WHERE wallet_id = ANY(:wallet_ids) AND grain = 'quarter'
            ), made AS ({sum_rows_query("found", ["wallet_id", "began", *key], sums, *more, waits=waits)})
            INSERT INTO {table} (grain, wallet_id, starts, {", ".join(names)})
            SELECT '{grain}', wallet_id, began, {", ".join(names)} FROM made
        """)
        for grain in CALENDAR_GRAINS
    ]
    return [sa.text(f"DELETE FROM {table} WHERE wallet_id = ANY(:wallet_ids) AND grain <> 'quarter'"), *made]


_ANEW: Final = (
    *_anew(
        "analytics_totals",
        ["rail"],
        list(TOTAL_SUMS),
        [
            ("first_position", "min(first_position) AS first_position"),
            ("last_position", "max(last_position) AS last_position"),
        ],
    ),
    *_anew("analytics_drivers", ["driver_id"], list(OUTCOME_SUMS)),
    *_anew("analytics_failures", ["rail", "outcome", "code"], list(FAILURE_SUMS), waits=False),
)
