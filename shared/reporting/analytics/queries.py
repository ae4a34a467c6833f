"""Reading: the figures of a range, by rail, by time and by reason of failure."""

import enum
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.platform.errors import Invalid
from shared.reporting.analytics.definitions import Totals, figures
from shared.reporting.analytics.facts import FAILURES, TOTALS, added_up
from shared.reporting.analytics.ranges import Place, Span
from shared.reporting.analytics.sources import BY_FAILURE, BY_RAIL, found
from shared.schema.analytics import Grain
from shared.schema.payouts import Rail

BUCKETS_MOST: Final = 1_000
"""Times in a series at the most."""


class Interval(enum.StrEnum):
    """How long each time of a series is, by the organization's calendar. Weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


COARSEST: Final = {Interval.DAY: Grain.DAY, Interval.WEEK: Grain.WEEK, Interval.MONTH: Grain.MONTH}
"""The longest sums that lie within one time of a series."""


def _of_rail(rail: Rail | None) -> tuple[str, dict[str, Any]]:
    return ("true", {}) if rail is None else ("rail = :rail", {"rail": rail.value})


def by_rail(connection: sa.Connection, where: Place, span: Span, rail: Rail | None = None) -> dict[Rail, Totals]:
    """The figures of each rail, or of one; nothing where nothing happened."""
    only, chosen = _of_rail(rail)
    rows, values = found(BY_RAIL, where, span, only)
    made = connection.execute(sa.text(f"{rows} {added_up('found', ['rail'], TOTALS)}"), values | chosen)
    there = {Rail(row.rail): figures(Totals, row) for row in made}
    return {one: there.get(one, Totals()) for one in ([rail] if rail else Rail)}


def series(
    connection: sa.Connection, where: Place, span: Span, interval: Interval, rail: Rail | None = None
) -> dict[date, Totals]:
    """The figures of each day, week or month that the range touches, by its first day; of the range's part of it.

    Raises:
        Invalid: it touches too many.

    """
    starts = buckets(span, interval)
    only, chosen = _of_rail(rail)
    rows, values = found(BY_RAIL, where, span, only)
    dated = f"""
        {rows}, dated AS MATERIALIZED (
            SELECT CAST(date_trunc('{interval}', CAST(day AS timestamp)) AS date) AS starts, found.* FROM found
        ) {added_up("dated", ["starts"], TOTALS)}
    """
    there = {row.starts: figures(Totals, row) for row in connection.execute(sa.text(dated), values | chosen)}
    return {start: there.get(start, Totals()) for start in starts}


def buckets(span: Span, interval: Interval) -> list[date]:
    """The first days of the times of a series."""
    start, starts = begin_of(span.first_day, interval), []
    while start <= span.last_day:
        starts.append(start)
        start = begin_of(start + timedelta(days={"day": 1, "week": 7, "month": 31}[interval]), interval)
    if len(starts) > BUCKETS_MOST:
        raise _too_many(interval)
    return starts


def _too_many(interval: Interval) -> Invalid:
    return Invalid(
        f"The range has more than {BUCKETS_MOST} {interval}s; ask for a shorter one, or a longer interval",
        field="interval",
        limit=BUCKETS_MOST,
    )


def begin_of(day: date, interval: Interval) -> date:
    """The first day of the time of a series that a day is in."""
    if interval is Interval.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval is Interval.WEEK else day


class Failure(NamedTuple):
    """A reason for which payouts ended badly."""

    outcome: str
    code: str
    ended_count: int
    ended_cents: int
    recovered_count: int


def failures(connection: sa.Connection, where: Place, span: Span, rail: Rail | None = None) -> list[Failure]:
    """The reasons, the most frequent first."""
    only, chosen = _of_rail(rail)
    rows, values = found(BY_FAILURE, where, span, only)
    summed = added_up("found", ["outcome", "code"], FAILURES, waits=False)
    made = connection.execute(sa.text(f"{rows} {summed} ORDER BY count DESC, outcome, code"), values | chosen)
    return [Failure._make(row) for row in made]
