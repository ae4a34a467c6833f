"""Pieces: the sums that make up a time. Whole years, months and weeks of the local calendar, days at their ends,
quarters of an hour at the ends of those, and parts of quarters, which are read from the ledger itself.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from shared.schema.ledger import Grain

QUARTER_LENGTH: Final = timedelta(minutes=15)
"""How long a quarter of an hour is."""
NEXT_FINER_GRAIN: Final = {Grain.YEAR: Grain.MONTH, Grain.MONTH: Grain.WEEK, Grain.WEEK: Grain.DAY}
"""What the part of a year, a month or a week is made of. Weeks go across months; a part of one is days."""
ROWS_PER_DAY: Final = {Grain.DAY: 1.0, Grain.WEEK: 2.5 / 7, Grain.MONTH: 4 / 30.4, Grain.YEAR: 4 / 365}
"""How many rows a day of each grain is taken for, in those of days: not every driver is there on every day."""


class Period(NamedTuple):
    """Sums of one grain, one behind the other."""

    grain: Grain
    starts: datetime
    ends: datetime
    """Exclusive. Both as in the column `starts`."""
    sign: int = 1
    """-1 where they have to be taken off again."""


class PartialQuarter(NamedTuple):
    """A part of a quarter."""

    quarter: datetime
    """Where that begins, as in the column `starts`."""
    starts_at: datetime
    ends_at: datetime


def split_days(first: date, end: date, coarsest: Grain, sign: int = 1, *, fewest: bool = False) -> list[Period]:
    """The local days from the first to before the end, in sums no coarser than that; the fewest of them where some may
    be taken off again.
    """
    if first >= end:
        return []
    finer = NEXT_FINER_GRAIN.get(coarsest)
    if finer is None:
        return [_piece(Grain.DAY, first, end, sign)]

    def part(starts: date, ends: date) -> list[Period]:
        """Of one unit; it or the rest of it, whichever are fewer."""
        inside = split_days(starts, ends, finer, sign, fewest=fewest)
        if not inside or not fewest:
            return inside
        unit = period_start(starts, coarsest)
        outside = split_days(unit, starts, finer, -sign, fewest=True)
        outside += split_days(ends, next_period_start(unit, coarsest), finer, -sign, fewest=True)
        less = [_piece(coarsest, unit, next_period_start(unit, coarsest), sign), *outside]
        return min(inside, less, key=_weight)

    unit = period_start(first, coarsest)
    whole_from = unit if unit == first else next_period_start(unit, coarsest)
    whole_to = period_start(end, coarsest)
    if whole_from > whole_to:
        return part(first, end)
    whole = [_piece(coarsest, whole_from, whole_to, sign)] if whole_from < whole_to else []
    return [*part(first, whole_from), *whole, *part(whole_to, end)]


def _weight(pieces: Sequence[Period]) -> int:
    """About how many rows that is."""
    return sum(round((one.ends - one.starts).days * ROWS_PER_DAY[one.grain]) for one in pieces)


def period_start(day: date, grain: Grain) -> date:
    """Where the day's week, month or year begins."""
    if grain is Grain.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1, month=1 if grain is Grain.YEAR else day.month)


def next_period_start(first: date, grain: Grain) -> date:
    """Where the week, month or year after that one begins."""
    if grain is Grain.YEAR:
        return first.replace(year=first.year + 1)
    return period_start(first + timedelta(days=7 if grain is Grain.WEEK else 31), grain)


def _piece(grain: Grain, first: date, end: date, sign: int) -> Period:
    starts, ends = (datetime(day.year, day.month, day.day) for day in (first, end))  # noqa: DTZ001
    return Period(grain, starts, ends, sign)


def split_quarters(starts_at: datetime, ends_at: datetime, pieces: list[Period], parts: list[PartialQuarter]) -> None:
    """Adds the quarters between two times, and what is beside them."""
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
        pieces.append(Period(Grain.QUARTER, _plain(whole_from), _plain(whole_to)))
    if whole_to < ends_at:
        parts.append(PartialQuarter(_plain(whole_to), whole_to, ends_at))


def _floor(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % QUARTER_LENGTH


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
