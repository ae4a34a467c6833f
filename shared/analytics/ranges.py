"""Ranges: from when to when, and which sums make that up: whole years, months, weeks and days of the local calendar,
quarters of an hour at both ends and, where an end is in the middle of one, a part of a quarter from the ledger itself.

Where a day begins is asked of the database alone, whose sums go by it: twice a year, and somewhere always.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.analytics.facts import LOCAL, QUARTER
from shared.errors import Invalid
from shared.models.analytics import Grain

DAYS: Final = 30
"""How long a range is of which no beginning was said, its last day included."""
FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""What a range lies in."""
STEP: Final = timedelta(minutes=15)
FINER: Final = {Grain.YEAR: Grain.MONTH, Grain.MONTH: Grain.WEEK, Grain.WEEK: Grain.DAY}
"""What the part of a year, a month or a week is made of. Weeks go across months; a part of one is days."""
WEIGHTS: Final = {Grain.DAY: 1.0, Grain.WEEK: 2.5 / 7, Grain.MONTH: 4 / 30.4, Grain.YEAR: 4 / 365}
"""How many rows a day of each grain is taken for, in those of days: not every driver is there on every day."""

Moment = date | datetime
"""A local date: where that day begins; or an aware time."""


class Place(NamedTuple):
    """A wallet as analytics know it, at one moment."""

    wallet_id: uuid.UUID
    time_zone: str
    currency: str
    position: int
    """Up to which its transfers are in the sums."""
    today: date
    """By the clock in its organization's zone."""
    first_sum: datetime | None
    last_sum: datetime | None
    """Its first and its last quarter of an hour in which anything was folded."""


class Piece(NamedTuple):
    """Sums of one grain, one behind the other."""

    grain: Grain
    starts: datetime
    ends: datetime
    """Exclusive. Both as in the column `starts`."""
    sign: int = 1
    """-1 where they have to be taken off again."""


class Part(NamedTuple):
    """A part of a quarter."""

    quarter: datetime
    """Where that begins, as in the column `starts`."""
    starts_at: datetime
    ends_at: datetime


class Span(NamedTuple):
    """A range, cut into pieces."""

    starts_at: datetime
    ends_at: datetime
    first_day: date
    last_day: date
    """The local days that it touches, the last one included."""
    pieces: list[Piece]
    fewer: list[Piece]
    """The same range in fewer sums, some of which are taken off again: most of a month is the month less some days."""
    parts: list[Part]


class _End(NamedTuple):
    at: datetime
    day: date
    day_starts: datetime
    next_day_starts: datetime


def place(connection: sa.Connection, wallet_id: uuid.UUID, now: datetime) -> Place:
    """What a wallet's analytics go by."""
    row = connection.execute(
        sa.text("""
            SELECT wallets.id, time_zone, currency, coalesce(position, 0),
                   CAST(CAST(:now AS timestamptz) AT TIME ZONE time_zone AS date),
                   (SELECT min(starts) AT TIME ZONE 'UTC' FROM analytics_totals
                    WHERE analytics_totals.wallet_id = wallets.id AND grain = 'quarter'),
                   (SELECT max(starts) AT TIME ZONE 'UTC' FROM analytics_totals
                    WHERE analytics_totals.wallet_id = wallets.id AND grain = 'quarter')
            FROM wallets JOIN organizations ON organizations.id = organization_id
            LEFT JOIN analytics_folds ON analytics_folds.wallet_id = wallets.id
            WHERE wallets.id = :wallet_id
        """),
        {"wallet_id": wallet_id, "now": now},
    ).one()
    return Place._make(row)


def _start_of(day: str) -> str:
    """Where a local day begins: its first quarter, whatever the clocks do at midnight."""
    midnight = f"(CAST({day} AS timestamp) AT TIME ZONE :zone)"
    return f"""(
        SELECT min(quarter) FROM generate_series(
            {midnight} - interval '3 hours', {midnight} + interval '3 hours', interval '15 minutes') AS quarter
        WHERE CAST(quarter AT TIME ZONE :zone AS date) >= {day}
    )"""


_ENDS: Final = sa.text(f"""
    SELECT coalesce(at, {_start_of("day")}), day, {_start_of("day")}, {_start_of("(day + 1)")} FROM (
        SELECT place, at, coalesce(given, CAST({LOCAL.format(quarter=QUARTER.format(moment="at"))} AS date)) AS day
        FROM (VALUES (1, CAST(:first_day AS date), CAST(:first_at AS timestamptz)),
                     (2, CAST(:last_day AS date), CAST(:last_at AS timestamptz))) AS ends (place, given, at)
    ) AS ends ORDER BY place
""")


def span(
    connection: sa.Connection, where: Place, starts: Moment | None, ends: Moment | None, coarsest: Grain = Grain.YEAR
) -> Span:
    """The range between two moments, half open, in pieces no coarser than that. Without an end it goes to the end of
    today; without a beginning it is 30 days long.

    Raises:
        Invalid: it is empty, or lies beyond what can be asked for.
    """
    if ends is None:
        ends = where.today + timedelta(days=1)
    for field, moment in (("to", ends), ("from", starts)):
        if moment is not None and not FIRST <= _utc(moment) <= LAST:
            raise Invalid(f"{field} must lie between {FIRST.date()} and {LAST.date()}", field=field)
    if starts is None:
        starts = ends - timedelta(days=DAYS)
    values: dict[str, object] = {"zone": where.time_zone}
    for name, moment in (("first", starts), ("last", ends)):
        at = moment if isinstance(moment, datetime) else None
        values |= {f"{name}_at": at, f"{name}_day": None if at else moment}
    first, last = (_End._make(row) for row in connection.execute(_ENDS, values))
    if first.at >= last.at:
        raise Invalid("from must be before to", field="from")
    return _cut(where, first, last, coarsest)


def _utc(moment: Moment) -> datetime:
    """An aware time, for a date that of its beginning in UTC."""
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def _cut(where: Place, first: _End, last: _End, coarsest: Grain) -> Span:
    """The pieces. Beyond the wallet's first and last sum there is nothing, so an end that lies there is put off to
    the end of a year: everything, and the time until today, are made of few sums."""
    pieces: list[Piece] = []
    fewer: list[Piece] = []
    parts: list[Part] = []
    whole_from = first.day if first.at == first.day_starts else first.day + timedelta(days=1)
    whole_to, before, behind = last.day, True, True
    if where.first_sum is not None and first.at <= where.first_sum:
        whole_from, before = begin(first.day, Grain.YEAR), False
    if where.last_sum is not None and last.at >= where.last_sum + STEP:
        whole_to, behind = following(begin(last.day, Grain.YEAR), Grain.YEAR), False
    if whole_from > whole_to:  # within one day
        quarters(first.at, last.at, pieces, parts)
    else:
        if before and first.at != first.day_starts:
            quarters(first.at, first.next_day_starts, pieces, parts)
        if behind:
            quarters(last.day_starts, last.at, pieces, parts)
        fewer = days(whole_from, whole_to, coarsest, fewest=True)
        fewer, pieces = [*pieces, *fewer], [*pieces, *days(whole_from, whole_to, coarsest)]
    last_day = last.day if last.at != last.day_starts else last.day - timedelta(days=1)
    return Span(first.at, last.at, first.day, last_day, pieces, fewer or pieces, parts)


def days(first: date, end: date, coarsest: Grain, sign: int = 1, *, fewest: bool = False) -> list[Piece]:
    """The local days from the first to before the end, in sums no coarser than that; the fewest of them where some may
    be taken off again."""
    if first >= end:
        return []
    finer = FINER.get(coarsest)
    if finer is None:
        return [_piece(Grain.DAY, first, end, sign)]

    def part(starts: date, ends: date) -> list[Piece]:
        """Of one unit; it or the rest of it, whichever are fewer."""
        inside = days(starts, ends, finer, sign, fewest=fewest)
        if not inside or not fewest:
            return inside
        unit = begin(starts, coarsest)
        outside = days(unit, starts, finer, -sign, fewest=True)
        outside += days(ends, following(unit, coarsest), finer, -sign, fewest=True)
        less = [_piece(coarsest, unit, following(unit, coarsest), sign), *outside]
        return min(inside, less, key=_weight)

    unit = begin(first, coarsest)
    whole_from = unit if unit == first else following(unit, coarsest)
    whole_to = begin(end, coarsest)
    if whole_from > whole_to:
        return part(first, end)
    whole = [_piece(coarsest, whole_from, whole_to, sign)] if whole_from < whole_to else []
    return [*part(first, whole_from), *whole, *part(whole_to, end)]


def _weight(pieces: Sequence[Piece]) -> int:
    """About how many rows that is."""
    return sum(round((one.ends - one.starts).days * WEIGHTS[one.grain]) for one in pieces)


def begin(day: date, grain: Grain) -> date:
    """Where the day's week, month or year begins."""
    if grain is Grain.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1, month=1 if grain is Grain.YEAR else day.month)


def following(first: date, grain: Grain) -> date:
    """Where the week, month or year after that one begins."""
    if grain is Grain.YEAR:
        return first.replace(year=first.year + 1)
    return begin(first + timedelta(days=7 if grain is Grain.WEEK else 31), grain)


def _piece(grain: Grain, first: date, end: date, sign: int) -> Piece:
    starts, ends = (datetime(day.year, day.month, day.day) for day in (first, end))  # noqa: DTZ001
    return Piece(grain, starts, ends, sign)


def quarters(starts_at: datetime, ends_at: datetime, pieces: list[Piece], parts: list[Part]) -> None:
    """Adds the quarters between two times, and what is beside them."""
    if starts_at >= ends_at:
        return
    whole_from, whole_to = _floor(starts_at), _floor(ends_at)
    if whole_from == whole_to and starts_at != ends_at:  # within one quarter
        parts.append(Part(_plain(whole_from), starts_at, ends_at))
        return
    if whole_from < starts_at:
        parts.append(Part(_plain(whole_from), starts_at, whole_from + STEP))
        whole_from += STEP
    if whole_from < whole_to:
        pieces.append(Piece(Grain.QUARTER, _plain(whole_from), _plain(whole_to)))
    if whole_to < ends_at:
        parts.append(Part(_plain(whole_to), whole_to, ends_at))


def _floor(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment - (moment - FIRST) % STEP


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
