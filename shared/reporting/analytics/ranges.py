"""Ranges: from when to when, by the clock in the organization's zone, and which sums make that up.

Where a day begins is asked of the database alone, whose sums go by it: twice a year, and somewhere always.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest
from shared.reporting.analytics.facts import LOCAL_TIME_SQL, QUARTER_SQL
from shared.reporting.analytics.periods import (
    QUARTER_LENGTH,
    PartialQuarter,
    Period,
    next_period_start,
    period_start,
    split_days,
    split_quarters,
)
from shared.schema.ledger import Grain

DEFAULT_DAYS: Final = 30
"""How long a range is of which no beginning was said, its last day included."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""What a range lies in."""

RangeEnd = date | datetime
"""A local date: where that day begins; or an aware time."""


class AnalyticsWallet(NamedTuple):
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


class TimeRange(NamedTuple):
    """A range, cut into pieces."""

    starts_at: datetime
    ends_at: datetime
    first_day: date
    last_day: date
    """The local days that it touches, the last one included."""
    pieces: list[Period]
    fewer: list[Period]
    """The same range in fewer sums, some of which are taken off again: most of a month is the month less some days."""
    parts: list[PartialQuarter]


class _End(NamedTuple):
    at: datetime
    day: date
    day_starts: datetime
    next_day_starts: datetime


def load_analytics_wallet(connection: sa.Connection, wallet_id: uuid.UUID, now: datetime) -> AnalyticsWallet:
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
    return AnalyticsWallet._make(row)


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
        SELECT place, at,
               coalesce(given, CAST({LOCAL_TIME_SQL.format(quarter=QUARTER_SQL.format(moment="at"))} AS date)) AS day
        FROM (VALUES (1, CAST(:first_day AS date), CAST(:first_at AS timestamptz)),
                     (2, CAST(:last_day AS date), CAST(:last_at AS timestamptz))) AS ends (place, given, at)
    ) AS ends ORDER BY place
""")


def resolve_time_range(
    connection: sa.Connection,
    where: AnalyticsWallet,
    starts: RangeEnd | None,
    ends: RangeEnd | None,
    coarsest: Grain = Grain.YEAR,
) -> TimeRange:
    """The range between two moments, half open, in pieces no coarser than that. Without an end it goes to the end of
    today; without a beginning it is 30 days long.

    Raises:
        Invalid: it is empty, or lies beyond what can be asked for.

    """
    if ends is None:
        ends = where.today + timedelta(days=1)
    for field, moment in (("to", ends), ("from", starts)):
        if moment is not None and not EARLIEST <= _utc(moment) <= LATEST:
            raise InvalidRequest(f"{field} must lie between {EARLIEST.date()} and {LATEST.date()}", field=field)
    if starts is None:
        starts = ends - timedelta(days=DEFAULT_DAYS)
    values: dict[str, object] = {"zone": where.time_zone}
    for name, moment in (("first", starts), ("last", ends)):
        at = moment if isinstance(moment, datetime) else None
        values |= {f"{name}_at": at, f"{name}_day": None if at else moment}
    first, last = (_End._make(row) for row in connection.execute(_ENDS, values))
    if first.at >= last.at:
        raise InvalidRequest("from must be before to", field="from")
    return _cut(where, first, last, coarsest)


def _utc(moment: RangeEnd) -> datetime:
    """An aware time, for a date that of its beginning in UTC."""
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def _cut(where: AnalyticsWallet, first: _End, last: _End, coarsest: Grain) -> TimeRange:
    """The pieces. Beyond the wallet's first and last sum there is nothing, so an end that lies there is put off to
    the end of a year: everything, and the time until today, are made of few sums.
    """
    pieces: list[Period] = []
    fewer: list[Period] = []
    parts: list[PartialQuarter] = []
    whole_from = first.day if first.at == first.day_starts else first.day + timedelta(days=1)
    whole_to, before, behind = last.day, True, True
    if where.first_sum is not None and first.at <= where.first_sum:
        whole_from, before = period_start(first.day, Grain.YEAR), False
    if where.last_sum is not None and last.at >= where.last_sum + QUARTER_LENGTH:
        whole_to, behind = next_period_start(period_start(last.day, Grain.YEAR), Grain.YEAR), False
    if whole_from > whole_to:  # within one day
        split_quarters(first.at, last.at, pieces, parts)
    else:
        if before and first.at != first.day_starts:
            split_quarters(first.at, first.next_day_starts, pieces, parts)
        if behind:
            split_quarters(last.day_starts, last.at, pieces, parts)
        fewer = split_days(whole_from, whole_to, coarsest, fewest=True)
        fewer, pieces = [*pieces, *fewer], [*pieces, *split_days(whole_from, whole_to, coarsest)]
    last_day = last.day if last.at != last.day_starts else last.day - timedelta(days=1)
    return TimeRange(first.at, last.at, first.day, last_day, pieces, fewer or pieces, parts)
