"""Lanes: endpoints are called beside those that answer as they do, so that a slow or dead one delays nobody else.

An endpoint gets into the quick lane by its first quick success, so whoever is dead from the start never comes into
it; whoever dies on the way leaves it by the first call that takes longer than a second.
"""

from typing import Final, NamedTuple

from shared.schema.events import Pace

QUICK_CALL_SECONDS: Final = 1.0
"""What counts as quick. A call in the quick lane gives its place away after that, though it goes on."""

QUICK_FAILURES_TOLERATED: Final = 2
"""Quick failures in a row, as a restart brings them, that leave an endpoint in its lane."""


class PaceLimits(NamedTuple):
    """How much is under way at once."""

    slots: int
    """Calls in each worker process."""
    an_endpoint: int
    """Calls to one endpoint, by all processes together."""


PACE_LIMITS: Final = {Pace.QUICK: PaceLimits(64, 8), Pace.SLOW: PaceLimits(128, 2), Pace.FAILING: PaceLimits(128, 1)}


def next_pace(pace: Pace, *, delivered: bool, seconds: float, failures_in_a_row: int) -> Pace:
    """The lane of an endpoint that has been called so."""
    if delivered:
        return Pace.QUICK if seconds <= QUICK_CALL_SECONDS else Pace.SLOW
    if seconds <= QUICK_CALL_SECONDS and failures_in_a_row <= QUICK_FAILURES_TOLERATED:
        return pace
    return Pace.FAILING
