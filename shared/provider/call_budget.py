"""The budget: the provider's limits, kept by all of our processes together before it has to say no.

Calls are counted in Postgres, in parts of a window that slides: never more than the limit in any window, whichever
process makes them and whatever Redis forgets. Some of an hour's calls are kept for instant payouts, and more for paying
at all: a hundred new drivers, or a thousand questions after an outage, hold up no payout. What finds no room
was not sent: it comes back as `Throttled`, like a 429, with the time at which there is room again.
"""

import math
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.settings import Settings
from shared.provider.wire import ProviderCall

WINDOW_BUCKETS: Final = 60
"""A window is counted in so many parts, one that has only partly passed, and one for calls that were counted a while
before they went out: we count too many, never too few."""
COUNTED_BUCKETS: Final = WINDOW_BUCKETS + 2

PACE_SECONDS_MAX: Final = 60.0
UNPACED_SHARE: Final = 1 / 16
"""The share of an hour's calls that is spent as they come; beyond it standard payouts wait for each other."""

FUNDING_PATHS: Final = frozenset({"/balance/topup"})
PAYING_PATHS: Final = frozenset({"/payments", "/batches"})

NON_PAYMENT_SHARE: Final = 0.4
"""The share of an hour's calls that may be spent on everything but paying: drivers, questions, top-ups."""


class CallLimit(NamedTuple):
    """So many calls in any window of so many seconds."""

    name: str
    most: int
    window_seconds: float
    kept: int = 0
    """How many of them are kept for urgent calls."""

    @property
    def counted_seconds(self) -> float:
        """How long a call counts."""
        return self.window_seconds * COUNTED_BUCKETS / WINDOW_BUCKETS

    def room(self, used: int, *, urgent: bool) -> int:
        """How many more may be made now."""
        return max(self.most - (0 if urgent else self.kept) - used, 0)


class CallGrant(NamedTuple):
    """How many of the calls may be made now, and when to ask for the others."""

    granted: int
    wait_seconds: float


class CallBudget:
    """Takes room for calls. Each question is a short transaction of its own; without limits there is none."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self._engine = engine
        self._hourly = settings.paystream_requests_per_hour
        self._kept = min(settings.paystream_instant_reserve, self._hourly)
        self._funding = settings.paystream_funding_per_minute

    def limits(self, call: ProviderCall) -> list[CallLimit]:
        """The limits that a call falls under."""
        found = []
        if call.path in FUNDING_PATHS and call.method == "POST" and self._funding:
            found.append(CallLimit(f"{call.mode} funding", self._funding, 60.0))
        if self._hourly:
            if not (call.method == "POST" and call.path in PAYING_PATHS):
                most = max(int(self._hourly * NON_PAYMENT_SHARE), 1)
                found.append(CallLimit(f"{call.mode} questions", most, 3600.0))
            found.append(self._of_key(call.mode))
        return found

    def _of_key(self, mode: str) -> CallLimit:
        return CallLimit(f"{mode} requests", self._hourly, 3600.0, self._kept)

    def take(self, call: ProviderCall, wanted: int) -> CallGrant:
        """Takes room for up to `wanted` calls like this one."""
        granted, wait_seconds = wanted, 0.0
        limits = self.limits(call)
        if not limits:
            return CallGrant(granted, wait_seconds)
        with self._engine.begin() as connection:
            for limit in limits:
                room, wait = _room(connection, limit, urgent=call.urgent)
                granted = min(granted, room)
                wait_seconds = max(wait_seconds, wait if room < wanted else 0.0)
            if granted:
                for limit in limits:
                    _note(connection, limit, granted)
        return CallGrant(granted, wait_seconds)

    def pause(self, call: ProviderCall, seconds: float) -> None:
        """The provider has said no, in spite of all: nobody calls until it has time again."""
        limits = self.limits(call)
        if not limits:
            return
        with self._engine.begin() as connection:
            connection.execute(
                sa.text("""
                    INSERT INTO provider_limits AS held (name, paused_until)
                    VALUES (:name, clock_timestamp() + make_interval(secs => :seconds))
                    ON CONFLICT (name) DO UPDATE
                    SET paused_until = greatest(held.paused_until, excluded.paused_until)
                """),
                {"name": limits[0 if call.path in FUNDING_PATHS else -1].name, "seconds": seconds},
            )

    def pace_seconds(self, connection: sa.Connection, mode: str) -> float:
        """How long a wallet's standard payouts wait for each other, so that they travel in fewer calls: nothing while
        calls are plenty, a minute where they run out. ACH takes days: the minute is not missed.
        """
        if not self._hourly:
            return 0.0
        limit = self._of_key(mode)
        most = max(limit.most - limit.kept, 1)
        free = most * UNPACED_SHARE
        share = (_used(connection, limit) - free) / (most - free)
        return PACE_SECONDS_MAX * min(max(share, 0.0), 1.0)


def _used(connection: sa.Connection, limit: CallLimit) -> int:
    used = connection.scalar(
        sa.text("""
            SELECT coalesce(sum(calls), 0) FROM provider_calls
            WHERE name = :name AND began_at > clock_timestamp() - make_interval(secs => :seconds)
        """),
        {"name": limit.name, "seconds": limit.counted_seconds},
    )
    return int(used or 0)


def _room(connection: sa.Connection, limit: CallLimit, *, urgent: bool) -> tuple[int, float]:
    """How many calls may be made now, and how long to wait where that is too few. The limit stays locked."""
    connection.execute(
        sa.text("INSERT INTO provider_limits (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": limit.name}
    )
    paused_seconds = connection.scalar(
        sa.text("""
            SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 FROM provider_limits
            WHERE name = :name FOR UPDATE
        """),
        {"name": limit.name},
    )
    if paused_seconds is not None and paused_seconds > 0:
        return 0, paused_seconds
    room = limit.room(_used(connection, limit), urgent=urgent)
    oldest_seconds = connection.scalar(
        sa.text("""
            SELECT extract(epoch FROM clock_timestamp() - min(began_at))::float8 FROM provider_calls
            WHERE name = :name AND began_at > clock_timestamp() - make_interval(secs => :seconds)
        """),
        {"name": limit.name, "seconds": limit.counted_seconds},
    )
    left = limit.counted_seconds - (oldest_seconds or 0.0)
    return room, max(math.ceil(left), 1.0)


def _note(connection: sa.Connection, limit: CallLimit, count: int) -> None:
    """Counts calls, and forgets what is long over."""
    part_seconds = limit.window_seconds / WINDOW_BUCKETS
    connection.execute(
        sa.text("""
            INSERT INTO provider_calls AS made (name, began_at, calls)
            VALUES (:name, date_bin(make_interval(secs => :part), clock_timestamp(), TIMESTAMPTZ 'epoch'), :count)
            ON CONFLICT (name, began_at) DO UPDATE SET calls = made.calls + excluded.calls
        """),
        {"name": limit.name, "part": part_seconds, "count": count},
    )
    connection.execute(
        sa.text("""
            DELETE FROM provider_calls
            WHERE name = :name AND began_at < clock_timestamp() - make_interval(secs => :seconds)
        """),
        {"name": limit.name, "seconds": limit.window_seconds * 2},
    )
