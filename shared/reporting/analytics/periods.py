"""Periods: split a time range into whole years, months and weeks, days at their ends, and quarters of an hour at the
ends of those. Partial quarters are read from the ledger.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from shared.schema.ledger import Grain

QUARTER_LENGTH: Final = timedelta(minutes=15)
NEXT_FINER_GRAIN: Final = {Grain.YEAR: Grain.MONTH, Grain.MONTH: Grain.WEEK, Grain.WEEK: Grain.DAY}
"""The grain for a part of a year, month or week."""
ROWS_PER_DAY: Final = {Grain.DAY: 1.0, Grain.WEEK: 2.5 / 7, Grain.MONTH: 4 / 30.4, Grain.YEAR: 4 / 365}
"""Estimated rows per day of each grain, relative to days: few drivers are paid on every day."""


class Period(NamedTuple):
    """Consecutive sums of one grain."""

    grain: Grain
    starts: datetime
    ends: datetime
    """Exclusive; both as in the column `starts`."""
    sign: int = 1
    """-1 to subtract them."""


class PartialQuarter(NamedTuple):
    """A part of a quarter of an hour."""

    quarter: datetime
    """Its start, as in the column `starts`."""
    starts_at: datetime
    ends_at: datetime


def split_days(first: date, end: date, coarsest: Grain, sign: int = 1, *, fewest: bool = False) -> list[Period]:
    """Split local days, `end` excluded, into periods no coarser than `coarsest`. With `fewest`, subtract some periods
    if that needs fewer rows.
    """
    if first >= end:
        return []
    finer = NEXT_FINER_GRAIN.get(coarsest)
    if finer is None:
        return [_period(Grain.DAY, first, end, sign)]

    def split_part(starts: date, ends: date) -> list[Period]:
        inside = split_days(starts, ends, finer, sign, fewest=fewest)
        if not inside or not fewest:
            return inside
        unit = period_start(starts, coarsest)
        outside = split_days(unit, starts, finer, -sign, fewest=True)
        outside += split_days(ends, next_period_start(unit, coarsest), finer, -sign, fewest=True)
        less = [_period(coarsest, unit, next_period_start(unit, coarsest), sign), *outside]
        return min(inside, less, key=_estimated_rows)

    unit = period_start(first, coarsest)
    whole_from = unit if unit == first else next_period_start(unit, coarsest)
    whole_to = period_start(end, coarsest)
    if whole_from > whole_to:
        return split_part(first, end)
    whole = [_period(coarsest, whole_from, whole_to, sign)] if whole_from < whole_to else []
    return [*split_part(first, whole_from), *whole, *split_part(whole_to, end)]


def _estimated_rows(periods: Sequence[Period]) -> int:
    return sum(round((period.ends - period.starts).days * ROWS_PER_DAY[period.grain]) for period in periods)


def period_start(day: date, grain: Grain) -> date:
    """Return the start of a day's week, month or year."""
    if grain is Grain.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1, month=1 if grain is Grain.YEAR else day.month)


def next_period_start(first: date, grain: Grain) -> date:
    """Return the start of the next week, month or year."""
    if grain is Grain.YEAR:
        return first.replace(year=first.year + 1)
    return period_start(first + timedelta(days=7 if grain is Grain.WEEK else 31), grain)


def _period(grain: Grain, first: date, end: date, sign: int) -> Period:
    starts, ends = (datetime(day.year, day.month, day.day) for day in (first, end))  # noqa: DTZ001
    return Period(grain, starts, ends, sign)


def split_quarters(starts_at: datetime, ends_at: datetime, periods: list[Period], parts: list[PartialQuarter]) -> None:
    """Append the whole quarters between two times to `periods`, and the parts at both ends to `parts`."""
    if starts_at >= ends_at:
        return
    whole_from, whole_to = _floor(starts_at), _floor(ends_at)
    if whole_from == whole_to and starts_at != ends_at:  # within one quarter
        parts.append(PartialQuarter(_plain(whole_from), starts_at, ends_at))
        return
    if whole_from < starts_at:
        parts.append(PartialQuarter(_plain(whole_from), starts_at, whole_from + QUARTER_LENGTH))
        whole_from += QUARTER_LENGTH
    if whole_from < whole_to:
        periods.append(Period(Grain.QUARTER, _plain(whole_from), _plain(whole_to)))
    if whole_to < ends_at:
        parts.append(PartialQuarter(_plain(whole_to), whole_to, ends_at))


def _floor(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % QUARTER_LENGTH


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
