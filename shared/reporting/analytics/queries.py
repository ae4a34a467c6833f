"""Totals of a time range by rail, by interval and by failure reason."""

import enum
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest
from shared.reporting.analytics.definitions import PayoutTotals, totals_from_row
from shared.reporting.analytics.facts import FAILURE_SUMS, TOTAL_SUMS, sum_rows_query
from shared.reporting.analytics.ranges import AnalyticsWallet, TimeRange
from shared.reporting.analytics.sources import BY_FAILURE, BY_RAIL, range_rows_query
from shared.schema.ledger import Grain
from shared.schema.payouts import Rail

BUCKETS_MAX: Final = 1_000
"""Intervals in a time series."""


class Interval(enum.StrEnum):
    """Length of a time series' intervals, by the organization's calendar; weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


COARSEST_GRAIN: Final = {Interval.DAY: Grain.DAY, Interval.WEEK: Grain.WEEK, Interval.MONTH: Grain.MONTH}
"""The coarsest sums that fit into one interval."""


def _rail_condition(rail: Rail | None) -> tuple[str, dict[str, Any]]:
    return ("true", {}) if rail is None else ("rail = :rail", {"rail": rail.value})


def load_totals_by_rail(
    connection: sa.Connection, wallet: AnalyticsWallet, time_range: TimeRange, rail: Rail | None = None
) -> dict[Rail, PayoutTotals]:
    """Return the totals of each rail, or of one; zeros for a rail without payouts."""
    condition, rail_values = _rail_condition(rail)
    rows, values = range_rows_query(BY_RAIL, wallet, time_range, condition)
    query = f"{rows} {sum_rows_query('range_rows', ['rail'], TOTAL_SUMS)}"
    found = connection.execute(sa.text(query), values | rail_values)
    totals = {Rail(row.rail): totals_from_row(PayoutTotals, row) for row in found}
    return {name: totals.get(name, PayoutTotals()) for name in ([rail] if rail else Rail)}


def load_timeseries(
    connection: sa.Connection,
    wallet: AnalyticsWallet,
    time_range: TimeRange,
    interval: Interval,
    rail: Rail | None = None,
) -> dict[date, PayoutTotals]:
    """Return the totals of each interval that the range touches, by its first day; only of the part in the range.

    Raises:
        InvalidRequest: more than `BUCKETS_MAX` intervals.

    """
    starts = bucket_starts(time_range, interval)
    condition, rail_values = _rail_condition(rail)
    rows, values = range_rows_query(BY_RAIL, wallet, time_range, condition)
    query = f"""
        {rows}, dated AS MATERIALIZED (
            SELECT CAST(date_trunc('{interval}', CAST(day AS timestamp)) AS date) AS starts, range_rows.*
            FROM range_rows
        ) {sum_rows_query("dated", ["starts"], TOTAL_SUMS)}
    """
    found = connection.execute(sa.text(query), values | rail_values)
    totals = {row.starts: totals_from_row(PayoutTotals, row) for row in found}
    return {start: totals.get(start, PayoutTotals()) for start in starts}


def bucket_starts(time_range: TimeRange, interval: Interval) -> list[date]:
    """Return the first day of each interval that the range touches."""
    start, starts = bucket_start(time_range.first_day, interval), []
    while start <= time_range.last_day:
        starts.append(start)
        start = bucket_start(start + timedelta(days={"day": 1, "week": 7, "month": 31}[interval]), interval)
    if len(starts) > BUCKETS_MAX:
        raise InvalidRequest(
            f"The range has more than {BUCKETS_MAX} {interval}s: shorten it, or choose a longer `interval`",
            field="interval",
            limit=BUCKETS_MAX,
        )
    return starts


def bucket_start(day: date, interval: Interval) -> date:
    """Return the first day of the interval that contains a day."""
    if interval is Interval.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval is Interval.WEEK else day


class FailureReason(NamedTuple):
    """Payouts that ended unpaid for one reason."""

    outcome: str
    code: str
    ended_count: int
    ended_cents: int
    recovered_count: int


def load_failure_reasons(
    connection: sa.Connection, wallet: AnalyticsWallet, time_range: TimeRange, rail: Rail | None = None
) -> list[FailureReason]:
    """Return the reasons, most frequent first."""
    condition, rail_values = _rail_condition(rail)
    rows, values = range_rows_query(BY_FAILURE, wallet, time_range, condition)
    sums = sum_rows_query("range_rows", ["outcome", "code"], FAILURE_SUMS, waits=False)
    found = connection.execute(sa.text(f"{rows} {sums} ORDER BY count DESC, outcome, code"), values | rail_values)
    return [FailureReason._make(row) for row in found]
