"""Reading: the figures of a range, by rail, by time and by reason of failure."""

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
"""Times in a series at the most."""


class Interval(enum.StrEnum):
    """How long each time of a series is, by the organization's calendar. Weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


COARSEST_GRAIN: Final = {Interval.DAY: Grain.DAY, Interval.WEEK: Grain.WEEK, Interval.MONTH: Grain.MONTH}
"""The longest sums that lie within one time of a series."""


def _of_rail(rail: Rail | None) -> tuple[str, dict[str, Any]]:
    return ("true", {}) if rail is None else ("rail = :rail", {"rail": rail.value})


def load_totals_by_rail(
    connection: sa.Connection, where: AnalyticsWallet, span: TimeRange, rail: Rail | None = None
) -> dict[Rail, PayoutTotals]:
    """The figures of each rail, or of one; nothing where nothing happened."""
    only, chosen = _of_rail(rail)
    rows, values = range_rows_query(BY_RAIL, where, span, only)
    made = connection.execute(sa.text(f"{rows} {sum_rows_query('found', ['rail'], TOTAL_SUMS)}"), values | chosen)
    there = {Rail(row.rail): totals_from_row(PayoutTotals, row) for row in made}
    return {one: there.get(one, PayoutTotals()) for one in ([rail] if rail else Rail)}


def load_timeseries(
    connection: sa.Connection, where: AnalyticsWallet, span: TimeRange, interval: Interval, rail: Rail | None = None
) -> dict[date, PayoutTotals]:
    """The figures of each day, week or month that the range touches, by its first day; of the range's part of it.

    Raises:
        Invalid: it touches too many.

    """
    starts = bucket_starts(span, interval)
    only, chosen = _of_rail(rail)
    rows, values = range_rows_query(BY_RAIL, where, span, only)
    dated = f"""
        {rows}, dated AS MATERIALIZED (
            SELECT CAST(date_trunc('{interval}', CAST(day AS timestamp)) AS date) AS starts, found.* FROM found
        ) {sum_rows_query("dated", ["starts"], TOTAL_SUMS)}
    """
    there = {
        row.starts: totals_from_row(PayoutTotals, row) for row in connection.execute(sa.text(dated), values | chosen)
    }
    return {start: there.get(start, PayoutTotals()) for start in starts}


def bucket_starts(span: TimeRange, interval: Interval) -> list[date]:
    """The first days of the times of a series."""
    start, starts = bucket_start(span.first_day, interval), []
    while start <= span.last_day:
        starts.append(start)
        start = bucket_start(start + timedelta(days={"day": 1, "week": 7, "month": 31}[interval]), interval)
    if len(starts) > BUCKETS_MAX:
        raise _too_many(interval)
    return starts


def _too_many(interval: Interval) -> InvalidRequest:
    return InvalidRequest(
        f"The range has more than {BUCKETS_MAX} {interval}s; ask for a shorter one, or a longer interval",
        field="interval",
        limit=BUCKETS_MAX,
    )


def bucket_start(day: date, interval: Interval) -> date:
    """The first day of the time of a series that a day is in."""
    if interval is Interval.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval is Interval.WEEK else day


class FailureReason(NamedTuple):
    """A reason for which payouts ended badly."""

    outcome: str
    code: str
    ended_count: int
    ended_cents: int
    recovered_count: int


def load_failure_reasons(
    connection: sa.Connection, where: AnalyticsWallet, span: TimeRange, rail: Rail | None = None
) -> list[FailureReason]:
    """The reasons, the most frequent first."""
    only, chosen = _of_rail(rail)
    rows, values = range_rows_query(BY_FAILURE, where, span, only)
    summed = sum_rows_query("found", ["outcome", "code"], FAILURE_SUMS, waits=False)
    made = connection.execute(sa.text(f"{rows} {summed} ORDER BY count DESC, outcome, code"), values | chosen)
    return [FailureReason._make(row) for row in made]
