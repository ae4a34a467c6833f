"""The rows that make up a time range: folded sums of each grain, and transfers not folded yet.

Read them in a REPEATABLE READ transaction: in one snapshot, a transfer is in either of them.
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
"""Unfolded transfers that one query reads; there are more only after analytics were introduced to an old ledger."""


class AnalyticsBehind(Exception):
    """Too many of the wallet's transfers are not folded yet for a timely answer."""


class Source(NamedTuple):
    """Where one kind of sums is stored, and how it is computed from transfers."""

    table: str
    key: Mapping[str, str]
    """Key columns of the table, and their expressions on facts."""
    sums: Mapping[str, str]
    transfers: str
    """Condition on the transfers that it sums."""
    facts: str
    """Condition on their facts."""
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
    source: Source, wallet: AnalyticsWallet, time_range: TimeRange, condition: str = "true", *, fewest: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return a WITH clause that ends in `range_rows`, the rows of a range with their local `day`, and its parameters.

    `condition` is on the rows' keys. With `fewest`, some rows are negative to subtract a part of another row, and
    `range_rows` may be read once only.
    """
    values: dict[str, Any] = {
        "wallet_id": wallet.wallet_id,
        "zone": wallet.time_zone,
        "position": wallet.position,
        "starts_at": time_range.starts_at,
        "ends_at": time_range.ends_at,
    }
    slices = [f"{source.transfers} AND position > :position AND created_at >= :starts_at AND created_at < :ends_at"]
    for number, part in enumerate(time_range.partial_quarters):
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
        f"WHERE {source.facts} GROUP BY {groups}) AS live WHERE {condition}"
    ]
    for number, period in enumerate(time_range.fewest_periods if fewest else time_range.periods):
        day = f"CAST({LOCAL_TIME_SQL.format(quarter='starts') if period.grain is Grain.QUARTER else 'starts'} AS date)"
        sums = [name if period.sign > 0 else f"-{name} AS {name}" for name in source.sums]
        rows.append(
            f"SELECT {day}, {', '.join([*key, *sums, *waits])} FROM {source.table} "
            f"WHERE wallet_id = :wallet_id AND grain = '{period.grain}' "
            f"AND starts >= :from{number} AND starts < :to{number} AND {condition}"
        )
        values |= {f"from{number}": period.starts, f"to{number}": period.ends}
    materialized = "" if fewest else "MATERIALIZED "
    return f"WITH {facts_query(*slices)}, range_rows AS {materialized}({' UNION ALL '.join(rows)})", values


def check_fold_lag(connection: sa.Connection, wallet: AnalyticsWallet) -> None:
    """Check that at most `UNFOLDED_TRANSFERS_MAX` of the wallet's transfers are not folded.

    Raises:
        AnalyticsBehind: there are more.

    """
    beyond = connection.scalar(
        sa.text("""
            SELECT position FROM transfers WHERE wallet_id = :wallet_id AND position > :position
            ORDER BY position OFFSET :most LIMIT 1
        """),
        {"wallet_id": wallet.wallet_id, "position": wallet.position, "most": UNFOLDED_TRANSFERS_MAX},
    )
    if beyond is not None:
        raise AnalyticsBehind
