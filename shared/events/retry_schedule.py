"""When a delivery is tried again, and when an endpoint is left alone."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_DELAYS_SECONDS: Final = (
    0.0, 5.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0, 14 * 3600.0, 20 * 3600.0, 24 * 3600.0,
)  # fmt: skip
"""Before the first attempt, and after each to the next: those that Standard Webhooks recommends, three days in all."""

RETRY_JITTER: Final = 0.2
"""Up to so much of a delay is added, so that what failed together does not come back together."""

RETRY_AFTER_SECONDS_MAX: Final = 24 * 3600.0
PAUSE_AFTER: Final = timedelta(days=5)
"""An endpoint that has failed for so long, and not succeeded once, is paused."""

COOLDOWN_AFTER_FAILURES: Final = 3
COOLDOWN_SECONDS_MAX: Final = 60
"""From the third failure in a row on an endpoint rests after each, a second longer each time, up to a minute."""


def retry_delay_seconds(attempts: int, retry_after_seconds: float | None, jitter: float) -> float | None:
    """How long to wait after that many attempts; None: it was the last. `jitter` is a number from 0 to 1."""
    if attempts >= len(RETRY_DELAYS_SECONDS):
        return None
    return max(RETRY_DELAYS_SECONDS[attempts] * (1 + RETRY_JITTER * jitter), retry_after_seconds or 0.0)


def cooldown_seconds(failures_in_a_row: int) -> float:
    """How long an endpoint rests after a failure, whatever else waits for it."""
    return float(min(max(failures_in_a_row - COOLDOWN_AFTER_FAILURES + 1, 0), COOLDOWN_SECONDS_MAX))


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """What a `Retry-After` asks for, in seconds or as a date; at most a day. None where it asks for nothing."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
