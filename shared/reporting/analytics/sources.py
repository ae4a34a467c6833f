"""Sources: where sums are read, and the rows that make up a range: sums of every grain, and what of the ledger is not
folded yet. Read in a transaction that sees one moment (REPEATABLE READ), a transfer is in the one or in the other.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.reporting.analytics.facts import (
    FAILURE_CODE,
    FAILURE_OUTCOME,
    FAILURE_SUMS,
    IS_FAILURE,
    IS_OUTCOME,
    LOCAL_TIME_SQL,
    OUTCOME_SUMS,
    TOTAL_SUMS,
    WAITS_AGGREGATE,
    facts_query,
)
from shared.reporting.analytics.ranges import AnalyticsWallet, TimeRange
from shared.schema.ledger import Grain

UNFOLDED_TRANSFERS_MAX: Final = 200_000
"""Transfers that are read from the ledger for one answer at the most. It is that far behind only when it begins with
an old ledger."""


class AnalyticsBehind(Exception):
    """So much of the wallet's ledger is not folded yet that no answer can be given in time."""


class Source(NamedTuple):
    """Where a kind of sums is read."""

    table: str
    key: Mapping[str, str]
    """Its own key's columns, and how each is read from facts."""
    sums: Mapping[str, str]
    transfers: str
    """The transfers that it is made of,"""
    facts: str
    """and the facts among what they say."""
    waits: bool = True


BY_RAIL: Final = Source("analytics_totals", {"rail": "rail"}, TOTAL_SUMS, "payout_id IS NOT NULL", "true")
BY_DRIVER: Final = Source(
    "analytics_drivers",
    {"driver_id": "driver_id"},
    OUTCOME_SUMS,
    "kind IN ('settle', 'fee', 'release', 'return')",
    IS_OUTCOME,
)
BY_FAILURE: Final = Source(
    "analytics_failures",
    {"rail": "rail", "outcome": FAILURE_OUTCOME, "code": FAILURE_CODE},
    FAILURE_SUMS,
    "(kind IN ('release', 'return') OR (kind = 'settle' AND attempt > 1))",
    IS_FAILURE,
    waits=False,
)


def range_rows_query(
    source: Source, where: AnalyticsWallet, span: TimeRange, only: str = "true", *, fewest: bool = False
) -> tuple[str, dict[str, Any]]:
    """CTEs that end in `range_rows_query`: the rows that make up a range, each with its local `day`; and their
    parameters.

    `only` is a condition on the rows' own keys. With `fewest` some rows are negative, for they are taken off again;
    `range_rows_query` may then be read once.
    """
    values: dict[str, Any] = {
        "wallet_id": where.wallet_id,
        "zone": where.time_zone,
        "position": where.position,
        "starts_at": span.starts_at,
        "ends_at": span.ends_at,
    }
    slices = [f"{source.transfers} AND position > :position AND created_at >= :starts_at AND created_at < :ends_at"]
    for number, part in enumerate(span.parts):
        folded = f"FROM analytics_totals WHERE wallet_id = :wallet_id AND grain = 'quarter' AND starts = :part{number}"
        slices.append(
            f"{source.transfers} AND position BETWEEN (SELECT min(first_position) {folded}) "
            f"AND (SELECT max(last_position) {folded}) "
            f"AND created_at >= :part{number}_from AND created_at < :part{number}_to"
        )
        values |= {f"part{number}": part.quarter, f"part{number}_from": part.starts_at}
        values[f"part{number}_to"] = part.ends_at
    key, waits = list(source.key), ["waits"] if source.waits else []
    live = [f"{made} AS {name}" for name, made in (dict(source.key) | dict(source.sums)).items()]
    live += [f"{WAITS_AGGREGATE} AS waits"] if source.waits else []
    groups = ", ".join(str(number + 1) for number in range(len(key) + 1))
    rows = [
        f"SELECT * FROM (SELECT CAST(local AS date) AS day, {', '.join(live)} FROM fact "
        f"WHERE {source.facts} GROUP BY {groups}) AS live WHERE {only}"
    ]
    for number, piece in enumerate(span.fewer if fewest else span.pieces):
        day = f"CAST({LOCAL_TIME_SQL.format(quarter='starts') if piece.grain is Grain.QUARTER else 'starts'} AS date)"
        sums = [name if piece.sign > 0 else f"-{name} AS {name}" for name in source.sums]
        rows.append(
            f"SELECT {day}, {', '.join([*key, *sums, *waits])} FROM {source.table} "
            f"WHERE wallet_id = :wallet_id AND grain = '{piece.grain}' "
            f"AND starts >= :from{number} AND starts < :to{number} AND {only}"
        )
        values |= {f"from{number}": piece.starts, f"to{number}": piece.ends}
    materialized = "" if fewest else "MATERIALIZED "
    return f"WITH {facts_query(*slices)}, found AS {materialized}({' UNION ALL '.join(rows)})", values


def check_fold_lag(connection: sa.Connection, where: AnalyticsWallet) -> None:
    """Makes sure that not too much of the wallet's ledger has to be read.

    Raises:
        Behind: it is not folded that far yet.

    """
    beyond = connection.scalar(
        sa.text("""
            SELECT position FROM transfers WHERE wallet_id = :wallet_id AND position > :position
            ORDER BY position OFFSET :most LIMIT 1
        """),
        {"wallet_id": where.wallet_id, "position": where.position, "most": UNFOLDED_TRANSFERS_MAX},
    )
    if beyond is not None:
        raise AnalyticsBehind
