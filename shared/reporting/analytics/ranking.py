"""Rank drivers by what they were paid in a time range."""

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
"""Up to this number, drivers are looked up by id; above it, all are read."""


class DriverTotals(NamedTuple):
    """A driver's totals."""

    driver_id: uuid.UUID
    ovn_driver_id: str
    name: str
    totals: OutcomeTotals


class DriverSort(enum.StrEnum):
    """Rank order of drivers, highest first."""

    VOLUME = "volume"
    FEES = "fees"
    PAID = "paidCount"
    FAILED = "failedCount"
    RETURNED = "returnedCount"


_SORT_EXPRESSIONS: Final = {
    DriverSort.VOLUME: "net_cents + fee_cents",
    DriverSort.FEES: "fee_cents",
    DriverSort.PAID: "paid_count",
    DriverSort.FAILED: "failed_count",
    DriverSort.RETURNED: "returned_count",
}


def load_driver_ranking(
    connection: sa.Connection,
    wallet: AnalyticsWallet,
    time_range: TimeRange,
    *,
    sort: DriverSort,
    limit: int,
    skipped: int = 0,
) -> tuple[list[DriverTotals], int]:
    """Return a page of the drivers with an outcome in the range, and their number.

    The ranking reads one column from the fewest rows; all columns are read for the drivers on the page only.
    """
    rows, values = range_rows_query(BY_DRIVER._replace(waits=False), wallet, time_range, fewest=True)
    ranked = connection.execute(
        sa.text(f"""
            {rows}
            SELECT driver_id, sum({_SORT_EXPRESSIONS[sort]}) AS rank, count(*) OVER () AS total
            FROM range_rows GROUP BY driver_id
            HAVING sum(paid_count + failed_count + returned_count) > 0
            ORDER BY rank DESC, driver_id LIMIT :limit OFFSET :skipped
        """),
        values | {"limit": limit, "skipped": skipped},
    ).all()
    if not ranked:
        return [], load_driver_ranking(connection, wallet, time_range, sort=sort, limit=1)[1] if skipped else 0
    totals = _load_driver_totals(connection, wallet, time_range, [row.driver_id for row in ranked])
    return [totals[row.driver_id] for row in ranked], ranked[0].total


def _load_driver_totals(
    connection: sa.Connection, wallet: AnalyticsWallet, time_range: TimeRange, driver_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, DriverTotals]:
    few = len(driver_ids) <= DRIVER_LOOKUPS_MAX
    rows, values = range_rows_query(BY_DRIVER, wallet, time_range, "driver_id = ANY(:driver_ids)" if few else "true")
    found = connection.execute(
        sa.text(f"""
            {rows}, sums AS ({sum_rows_query("range_rows", ["driver_id"], OUTCOME_SUMS)})
            SELECT sums.*, ovn_driver_id, name FROM sums JOIN drivers ON drivers.id = driver_id
        """),
        values | ({"driver_ids": driver_ids} if few else {}),
    )
    return {
        row.driver_id: DriverTotals(row.driver_id, row.ovn_driver_id, row.name, totals_from_row(OutcomeTotals, row))
        for row in found
    }
