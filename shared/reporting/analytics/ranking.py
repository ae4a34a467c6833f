"""Ranking: who was paid the most, and how fast, in a range."""

import enum
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.reporting.analytics.definitions import OutcomeTotals, totals_from_row
from shared.reporting.analytics.facts import OUTCOME_SUMS, sum_rows_query
from shared.reporting.analytics.ranges import AnalyticsWallet, TimeRange
from shared.reporting.analytics.sources import BY_DRIVER, range_rows_query

DRIVER_LOOKUPS_MAX: Final = 1_000
"""Up to so many drivers are looked up one by one."""


class DriverTotals(NamedTuple):
    """What a driver was paid."""

    driver_id: uuid.UUID
    ovn_driver_id: str
    name: str
    ended: OutcomeTotals


class DriverSort(enum.StrEnum):
    """By what drivers are ranked, the most first."""

    VOLUME = "volume"
    FEES = "fees"
    PAID = "paidCount"
    FAILED = "failedCount"
    RETURNED = "returnedCount"


_BY: Final = {
    DriverSort.VOLUME: "net_cents + fee_cents",
    DriverSort.FEES: "fee_cents",
    DriverSort.PAID: "paid_count",
    DriverSort.FAILED: "failed_count",
    DriverSort.RETURNED: "returned_count",
}


def load_driver_ranking(
    connection: sa.Connection,
    where: AnalyticsWallet,
    span: TimeRange,
    *,
    sort: DriverSort,
    limit: int,
    skipped: int = 0,
) -> tuple[list[DriverTotals], int]:
    """A part of the ranking of drivers for whom anything ended in the range, and how many they are.

    All are ranked by one figure, in the fewest sums; the others are read for those alone that are shown.
    """
    rows, values = range_rows_query(BY_DRIVER._replace(waits=False), where, span, fewest=True)
    ranked = connection.execute(
        sa.text(f"""
            {rows}
            SELECT driver_id, sum({_BY[sort]}) AS rank, count(*) OVER () AS total FROM found GROUP BY driver_id
            HAVING sum(paid_count + failed_count + returned_count) > 0
            ORDER BY rank DESC, driver_id LIMIT :limit OFFSET :skipped
        """),
        values | {"limit": limit, "skipped": skipped},
    ).all()
    if not ranked:
        return [], load_driver_ranking(connection, where, span, sort=sort, limit=1)[1] if skipped else 0
    shown = _shown(connection, where, span, [row.driver_id for row in ranked])
    return [shown[row.driver_id] for row in ranked], ranked[0].total


def _shown(
    connection: sa.Connection, where: AnalyticsWallet, span: TimeRange, driver_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, DriverTotals]:
    """The figures of these drivers."""
    few = len(driver_ids) <= DRIVER_LOOKUPS_MAX
    rows, values = range_rows_query(BY_DRIVER, where, span, "driver_id = ANY(:driver_ids)" if few else "true")
    made = connection.execute(
        sa.text(f"""
            {rows}, made AS ({sum_rows_query("found", ["driver_id"], OUTCOME_SUMS)})
            SELECT made.*, ovn_driver_id, name FROM made JOIN drivers ON drivers.id = driver_id
        """),
        values | ({"driver_ids": driver_ids} if few else {}),
    )
    return {
        row.driver_id: DriverTotals(row.driver_id, row.ovn_driver_id, row.name, totals_from_row(OutcomeTotals, row))
        for row in made
    }
