"""Fold a wallet's transfers into sums, in the order of their positions, a limited number per transaction.

Any number of schedulers may fold at once; the lock on a wallet's row of `analytics_folds` keeps it to one.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from shared.reporting.analytics.facts import (
    FAILURE_CODE,
    FAILURE_OUTCOME,
    FAILURE_SUMS,
    IS_FAILURE,
    IS_OUTCOME,
    OUTCOME_SUMS,
    TOTAL_SUMS,
    WAITS_AGGREGATE,
    facts_query,
)
from shared.reporting.analytics.waits import merge_waits_sql


def wallets_behind(connection: sa.Connection) -> list[uuid.UUID]:
    """Return the wallets with transfers that are not folded yet."""
    return list(
        connection.scalars(
            sa.text("""
                SELECT wallets.id FROM wallets LEFT JOIN analytics_folds ON wallet_id = wallets.id
                JOIN LATERAL (  -- ordered, so one index entry per wallet is read
                    SELECT position FROM transfers WHERE transfers.wallet_id = wallets.id
                    ORDER BY position DESC LIMIT 1
                ) AS latest ON latest.position > coalesce(analytics_folds.position, 0)
                ORDER BY wallets.id
            """)
        )
    )


def fold_wallet(connection: sa.Connection, wallet_id: uuid.UUID, *, limit: int) -> int | None:
    """Fold at most `limit` transfers; return their number, or None if another process folds the wallet.

    The time zone is read under the row's lock, because changing it locks all rows of the organization's wallets.
    """
    wallet = {"wallet_id": wallet_id}
    connection.execute(
        sa.text("INSERT INTO analytics_folds (wallet_id) VALUES (:wallet_id) ON CONFLICT DO NOTHING"), wallet
    )
    position = connection.scalar(
        sa.text("SELECT position FROM analytics_folds WHERE wallet_id = :wallet_id FOR UPDATE SKIP LOCKED"), wallet
    )
    if position is None:
        return None
    zone = connection.scalar(
        sa.text("""
            SELECT time_zone FROM organizations JOIN wallets ON organizations.id = organization_id
            WHERE wallets.id = :wallet_id
        """),
        wallet,
    )
    return int(connection.scalar(_FOLD, wallet | {"position": position, "zone": zone, "limit": limit}) or 0)


def upsert_sums_query(
    table: str, key: Mapping[str, str], sums: Mapping[str, str], source: str, others: Mapping[str, tuple[str, str]]
) -> str:
    """Insert sums of a source's rows, or add them to existing rows. `others` are columns with another aggregate: its
    expression on the source, and on the old and new row.
    """
    names = ["wallet_id", *key, *sums, *others]
    values = [":wallet_id", *key.values(), *sums.values(), *(aggregate for aggregate, _ in others.values())]
    changes = [f"{name} = old.{name} + excluded.{name}" for name in sums]
    changes += [f"{name} = {merged}" for name, (_, merged) in others.items()]
    columns = ", ".join(f"{value} AS {name}" for name, value in zip(names, values, strict=True))
    selected = ", ".join(merge_waits_sql("waits") if name == "waits" else name for name in names)
    return f"""
        INSERT INTO {table} AS old ({", ".join(names)})
        SELECT {selected} FROM (
            SELECT {columns} FROM {source} GROUP BY {", ".join(str(number + 2) for number in range(len(key)))}
        ) AS new
        ON CONFLICT (wallet_id, {", ".join(key)}) DO UPDATE SET {", ".join(changes)}
    """


JOINED_WAITS_SQL: Final = merge_waits_sql("old.waits || excluded.waits")
POSITION_COLUMNS: Final = {
    "first_position": ("min(first_position)", "least(old.first_position, excluded.first_position)"),
    "last_position": ("max(last_position)", "greatest(old.last_position, excluded.last_position)"),
}
TIME_COLUMNS: Final = {"grain": "grain", "starts": "starts"}


def _into(table: str, key: Sequence[str], sums: Mapping[str, str], source: str, **others: tuple[str, str]) -> str:
    return upsert_sums_query(table, TIME_COLUMNS | {name: name for name in key}, sums, source, others)


_FOLD: Final = sa.text(f"""
    WITH {facts_query("position > :position ORDER BY position LIMIT :limit")},
    spread AS MATERIALIZED (
        SELECT fact.*, grain, starts FROM fact CROSS JOIN LATERAL (VALUES
            ('quarter', quarter), ('day', date_trunc('day', local)), ('week', date_trunc('week', local)),
            ('month', date_trunc('month', local)), ('year', date_trunc('year', local))) AS span (grain, starts)
    ), of_totals AS (
        {
    _into(
        "analytics_totals",
        ["rail"],
        TOTAL_SUMS,
        "spread",
        waits=(WAITS_AGGREGATE, JOINED_WAITS_SQL),
        **POSITION_COLUMNS,
    )
}
    ), of_drivers AS (
        {
    _into(
        "analytics_drivers",
        ["driver_id"],
        OUTCOME_SUMS,
        f"spread WHERE {IS_OUTCOME}",
        waits=(WAITS_AGGREGATE, JOINED_WAITS_SQL),
    )
}
    ), failed AS (
        SELECT grain, starts, rail, {FAILURE_OUTCOME} AS outcome, {FAILURE_CODE} AS code, outcome_kind, transfers, cents
        FROM spread WHERE {IS_FAILURE}
    ), of_failures AS (
        {_into("analytics_failures", ["rail", "outcome", "code"], FAILURE_SUMS, "failed")}
    ), counted AS (
        SELECT count(*) AS transfers, max(position) AS position FROM slice
    ), moved AS (
        UPDATE analytics_folds SET position = counted.position FROM counted
        WHERE wallet_id = :wallet_id AND counted.position IS NOT NULL
    )
    SELECT transfers FROM counted
""")
