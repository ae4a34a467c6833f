"""Call budget: the provider's rate limits, kept by all processes together.

Calls are counted in Postgres in buckets of a sliding window. Part of the hour's calls is reserved for instant payouts,
and a larger part for payments: registering drivers or polling can't delay a payout. A call beyond the budget is not
sent; its outcome is `Throttled`.
"""

import math
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.settings import Settings
from shared.provider.wire import ProviderCall

WINDOW_BUCKETS: Final = 60
COUNTED_BUCKETS: Final = WINDOW_BUCKETS + 2
"""Two more than a window has: one that has only partly passed, and one for calls counted some time before they were
sent. The count errs on the high side.
"""

PACE_SECONDS_MAX: Final = 60.0
UNPACED_SHARE: Final = 1 / 16
"""Share of the hourly calls that is spent without pacing; above it standard payouts wait to share calls."""

FUNDING_PATHS: Final = frozenset({"/balance/topup"})
PAYING_PATHS: Final = frozenset({"/payments", "/batches"})

NON_PAYMENT_SHARE: Final = 0.4
"""Share of the hourly calls available to everything but payments: drivers, lookups, top-ups."""


class CallLimit(NamedTuple):
    """At most `max_calls` in any window of `window_seconds`."""

    name: str
    max_calls: int
    window_seconds: float
    reserved_calls: int = 0
    """Of these, calls that only urgent ones may use."""

    @property
    def counted_seconds(self) -> float:
        """How long a call counts against the limit."""
        return self.window_seconds * COUNTED_BUCKETS / WINDOW_BUCKETS

    def remaining_calls(self, used: int, *, urgent: bool) -> int:
        """Return how many more calls may be made now."""
        return max(self.max_calls - (0 if urgent else self.reserved_calls) - used, 0)


class CallGrant(NamedTuple):
    """How many calls may be made now, and how long the others wait."""

    granted: int
    wait_seconds: float


# Creates the row that serializes the processes that count against a limit.
_CREATE_LIMIT: Final = sa.text("INSERT INTO provider_limits (name) VALUES (:name) ON CONFLICT DO NOTHING")

# Locks the limit's row until the calls are counted; returns how long the provider asked us to pause.
_LOCK_LIMIT: Final = sa.text("""
    SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 FROM provider_limits
    WHERE name = :name FOR UPDATE
""")

# Pauses a limit, never for less than it is paused already; locks its row.
_PAUSE_LIMIT: Final = sa.text("""
    INSERT INTO provider_limits AS present (name, paused_until)
    VALUES (:name, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (name) DO UPDATE SET paused_until = greatest(present.paused_until, excluded.paused_until)
""")

# Calls that count now; locks nothing.
_USED_CALLS: Final = sa.text("""
    SELECT coalesce(sum(calls), 0) FROM provider_calls
    WHERE name = :name AND began_at > clock_timestamp() - make_interval(secs => :seconds)
""")

# Age of the oldest bucket that counts; locks nothing.
_OLDEST_BUCKET_SECONDS: Final = sa.text("""
    SELECT extract(epoch FROM clock_timestamp() - min(began_at))::float8 FROM provider_calls
    WHERE name = :name AND began_at > clock_timestamp() - make_interval(secs => :seconds)
""")

# Counts calls in the current bucket; runs under the limit's row lock.
_COUNT_CALLS: Final = sa.text("""
    INSERT INTO provider_calls AS made (name, began_at, calls)
    VALUES (:name, date_bin(make_interval(secs => :part), clock_timestamp(), TIMESTAMPTZ 'epoch'), :count)
    ON CONFLICT (name, began_at) DO UPDATE SET calls = made.calls + excluded.calls
""")

# Deletes buckets that no longer count; runs under the limit's row lock.
_DELETE_OLD_BUCKETS: Final = sa.text("""
    DELETE FROM provider_calls
    WHERE name = :name AND began_at < clock_timestamp() - make_interval(secs => :seconds)
""")


class CallBudget:
    """Grants calls, in short transactions of its own."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self._engine = engine
        self._hourly_calls = settings.paystream_requests_per_hour
        self._instant_reserve = min(settings.paystream_instant_reserve, self._hourly_calls)
        self._funding_per_minute = settings.paystream_funding_per_minute

    def limits(self, call: ProviderCall) -> list[CallLimit]:
        """Return the limits that apply to the call, in locking order."""
        found = []
        if call.path in FUNDING_PATHS and call.method == "POST" and self._funding_per_minute:
            found.append(CallLimit(f"{call.mode} funding", self._funding_per_minute, 60.0))
        if self._hourly_calls:
            if not (call.method == "POST" and call.path in PAYING_PATHS):
                max_calls = max(int(self._hourly_calls * NON_PAYMENT_SHARE), 1)
                found.append(CallLimit(f"{call.mode} questions", max_calls, 3600.0))
            found.append(self._hourly_limit(call.mode))
        return found

    def _hourly_limit(self, mode: str) -> CallLimit:
        return CallLimit(f"{mode} requests", self._hourly_calls, 3600.0, self._instant_reserve)

    def acquire(self, call: ProviderCall, wanted: int) -> CallGrant:
        """Count up to `wanted` calls like this one against its limits."""
        granted, wait_seconds = wanted, 0.0
        limits = self.limits(call)
        if not limits:
            return CallGrant(granted, wait_seconds)
        with self._engine.begin() as connection:
            for limit in limits:
                remaining, wait = _lock_remaining_calls(connection, limit, urgent=call.urgent)
                granted = min(granted, remaining)
                wait_seconds = max(wait_seconds, wait if remaining < wanted else 0.0)
            if granted:
                for limit in limits:
                    _count_calls(connection, limit, granted)
        return CallGrant(granted, wait_seconds)

    def pause(self, call: ProviderCall, seconds: float) -> None:
        """Stop such calls in all processes for so long, after a 429."""
        limits = self.limits(call)
        if not limits:
            return
        with self._engine.begin() as connection:
            name = limits[0 if call.path in FUNDING_PATHS else -1].name
            connection.execute(_PAUSE_LIMIT, {"name": name, "seconds": seconds})

    def pace_seconds(self, connection: sa.Connection, mode: str) -> float:
        """Return how long a wallet's standard payouts wait to share calls: 0 to 60 s, as calls run out."""
        if not self._hourly_calls:
            return 0.0
        limit = self._hourly_limit(mode)
        max_calls = max(limit.max_calls - limit.reserved_calls, 1)
        unpaced = max_calls * UNPACED_SHARE
        share = (_used_calls(connection, limit) - unpaced) / (max_calls - unpaced)
        return PACE_SECONDS_MAX * min(max(share, 0.0), 1.0)


def _used_calls(connection: sa.Connection, limit: CallLimit) -> int:
    used = connection.scalar(_USED_CALLS, {"name": limit.name, "seconds": limit.counted_seconds})
    return int(used or 0)


# The wait applies if fewer calls remain than wanted.
def _lock_remaining_calls(connection: sa.Connection, limit: CallLimit, *, urgent: bool) -> tuple[int, float]:
    connection.execute(_CREATE_LIMIT, {"name": limit.name})
    paused_seconds = connection.scalar(_LOCK_LIMIT, {"name": limit.name})
    if paused_seconds is not None and paused_seconds > 0:
        return 0, paused_seconds
    remaining = limit.remaining_calls(_used_calls(connection, limit), urgent=urgent)
    oldest_seconds = connection.scalar(_OLDEST_BUCKET_SECONDS, {"name": limit.name, "seconds": limit.counted_seconds})
    wait_seconds = limit.counted_seconds - (oldest_seconds or 0.0)
    return remaining, max(math.ceil(wait_seconds), 1.0)


def _count_calls(connection: sa.Connection, limit: CallLimit, count: int) -> None:
    bucket_seconds = limit.window_seconds / WINDOW_BUCKETS
    connection.execute(_COUNT_CALLS, {"name": limit.name, "part": bucket_seconds, "count": count})
    connection.execute(_DELETE_OLD_BUCKETS, {"name": limit.name, "seconds": limit.window_seconds * 2})
