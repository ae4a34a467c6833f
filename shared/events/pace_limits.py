"""Concurrency limits of webhook calls by pace: slow and dead endpoints don't delay quick ones.

An endpoint becomes quick with its first quick success, and leaves the quick slots with its first slow call.
"""

from typing import Final, NamedTuple

from shared.schema.events import Pace

QUICK_CALL_SECONDS: Final = 1.0
"""The maximum for a quick call. A longer call of a quick endpoint frees its slot at that time and continues."""

QUICK_FAILURES_TOLERATED: Final = 2
"""Quick failures in a row, as during a restart, that leave an endpoint's pace unchanged."""


class PaceLimits(NamedTuple):
    """Calls that may be under way at once."""

    calls_per_process: int
    """To all endpoints of this pace, in each worker process: its slots."""
    calls_per_endpoint: int
    """To one endpoint, from all processes together."""


PACE_LIMITS: Final = {
    Pace.QUICK: PaceLimits(64, 8),
    Pace.SLOW: PaceLimits(128, 2),
    Pace.FAILING: PaceLimits(128, 1),
}


def next_pace(pace: Pace, *, delivered: bool, seconds: float, failures_in_a_row: int) -> Pace:
    """The endpoint's pace after a call with this result."""
    if delivered:
        return Pace.QUICK if seconds <= QUICK_CALL_SECONDS else Pace.SLOW
    if seconds <= QUICK_CALL_SECONDS and failures_in_a_row <= QUICK_FAILURES_TOLERATED:
        return pace
    return Pace.FAILING
