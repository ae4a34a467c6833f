"""Time ranges in the organization's time zone, and the periods whose sums make them up.

Only the database decides where a local day begins, because it assigns sums to days: its time zone rules may differ from
Python's.
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
"""Length of a range without a start, including its last day."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""Limits of a range."""

RangeEnd = date | datetime
"""A local date (the start of that day) or an aware time."""


class AnalyticsWallet(NamedTuple):
    """What analytics need to know of a wallet, in one snapshot."""

    wallet_id: uuid.UUID
    time_zone: str
    currency: str
    position: int
    """Position of the last transfer that is folded."""
    today: date
    """In the organization's time zone."""
    first_sum: datetime | None
    last_sum: datetime | None
    """The first and last quarter of an hour with a sum."""


class TimeRange(NamedTuple):
    """A half-open time range, split into periods."""

    starts_at: datetime
    ends_at: datetime
    first_day: date
    last_day: date
    """The first and last local day that it touches."""
    periods: list[Period]
    fewest_periods: list[Period]
    """The same range in fewer periods, some of them subtracted: most of a month is the month less some days."""
    partial_quarters: list[PartialQuarter]


class _End(NamedTuple):
    at: datetime
    day: date
    day_starts: datetime
    next_day_starts: datetime


def load_analytics_wallet(connection: sa.Connection, wallet_id: uuid.UUID, now: datetime) -> AnalyticsWallet:
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


def _day_start_sql(day: str) -> str:
    """Return an expression for the first quarter of an hour of a local day, even if clocks change at midnight."""
    midnight = f"(CAST({day} AS timestamp) AT TIME ZONE :zone)"
    return f"""(
        SELECT min(quarter) FROM generate_series(
            {midnight} - interval '3 hours', {midnight} + interval '3 hours', interval '15 minutes') AS quarter
        WHERE CAST(quarter AT TIME ZONE :zone AS date) >= {day}
    )"""


_ENDS: Final = sa.text(f"""
    SELECT coalesce(at, {_day_start_sql("day")}), day, {_day_start_sql("day")}, {_day_start_sql("(day + 1)")} FROM (
        SELECT number, at,
               coalesce(given, CAST({LOCAL_TIME_SQL.format(quarter=QUARTER_SQL.format(moment="at"))} AS date)) AS day
        FROM (VALUES (1, CAST(:first_day AS date), CAST(:first_at AS timestamptz)),
                     (2, CAST(:last_day AS date), CAST(:last_at AS timestamptz))) AS ends (number, given, at)
    ) AS ends ORDER BY number
""")


def resolve_time_range(
    connection: sa.Connection,
    wallet: AnalyticsWallet,
    starts: RangeEnd | None,
    ends: RangeEnd | None,
    coarsest: Grain = Grain.YEAR,
) -> TimeRange:
    """Split a range into periods no coarser than `coarsest`. It ends with today and is 30 days long by default.

    Raises:
        InvalidRequest: it is empty, or outside of EARLIEST to LATEST.

    """
    if ends is None:
        ends = wallet.today + timedelta(days=1)
    for field, moment in (("to", ends), ("from", starts)):
        if moment is not None and not EARLIEST <= _utc(moment) <= LATEST:
            raise InvalidRequest(f"`{field}` must be between {EARLIEST.date()} and {LATEST.date()}", field=field)
    if starts is None:
        starts = ends - timedelta(days=DEFAULT_DAYS)
    values: dict[str, object] = {"zone": wallet.time_zone}
    for name, moment in (("first", starts), ("last", ends)):
        at = moment if isinstance(moment, datetime) else None
        values |= {f"{name}_at": at, f"{name}_day": None if at else moment}
    first, last = (_End._make(row) for row in connection.execute(_ENDS, values))
    if first.at >= last.at:
        raise InvalidRequest("`from` must be before `to`", field="from")
    return _split(wallet, first, last, coarsest)


def _utc(moment: RangeEnd) -> datetime:
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def _split(wallet: AnalyticsWallet, first: _End, last: _End, coarsest: Grain) -> TimeRange:
    """Split. There are no sums before the wallet's first and after its last, so an end there moves to the end of its
    year, to need fewer periods.
    """
    periods: list[Period] = []
    fewest: list[Period] = []
    partial: list[PartialQuarter] = []
    whole_from = first.day if first.at == first.day_starts else first.day + timedelta(days=1)
    whole_to, split_first, split_last = last.day, True, True
    if wallet.first_sum is not None and first.at <= wallet.first_sum:
        whole_from, split_first = period_start(first.day, Grain.YEAR), False
    if wallet.last_sum is not None and last.at >= wallet.last_sum + QUARTER_LENGTH:
        whole_to, split_last = next_period_start(period_start(last.day, Grain.YEAR), Grain.YEAR), False
    if whole_from > whole_to:  # within one day
        split_quarters(first.at, last.at, periods, partial)
    else:
        if split_first and first.at != first.day_starts:
            split_quarters(first.at, first.next_day_starts, periods, partial)
        if split_last:
            split_quarters(last.day_starts, last.at, periods, partial)
        fewest = [*periods, *split_days(whole_from, whole_to, coarsest, fewest=True)]
        periods = [*periods, *split_days(whole_from, whole_to, coarsest)]
    last_day = last.day if last.at != last.day_starts else last.day - timedelta(days=1)
    return TimeRange(first.at, last.at, first.day, last_day, periods, fewest or periods, partial)
