"""When a delivery is retried, and how long an endpoint is not called after failures."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_DELAYS_SECONDS: Final = (
    0.0, 5.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0, 14 * 3600.0, 20 * 3600.0, 24 * 3600.0,
)  # fmt: skip
"""Delay before each attempt, as Standard Webhooks recommends."""

RETRY_SPAN: Final = timedelta(seconds=sum(RETRY_DELAYS_SECONDS))
"""From the event to the last attempt, without jitter: 3.1 days. Documents state it; a test compares them."""

RETRY_JITTER: Final = 0.2
"""Maximum share added to a delay at random: deliveries that failed together are retried apart."""

RETRY_AFTER_SECONDS_MAX: Final = 24 * 3600.0
PAUSE_AFTER: Final = timedelta(days=5)
"""An endpoint that fails for this long without a success is paused."""

COOLDOWN_AFTER_FAILURES: Final = 3
COOLDOWN_SECONDS_MAX: Final = 60


def retry_delay_seconds(attempts: int, retry_after_seconds: float | None, jitter: float) -> float | None:
    """The delay after this many attempts, None after the last. `jitter` is random, from 0 to 1."""
    if attempts >= len(RETRY_DELAYS_SECONDS):
        return None
    return max(RETRY_DELAYS_SECONDS[attempts] * (1 + RETRY_JITTER * jitter), retry_after_seconds or 0.0)


def cooldown_seconds(failures_in_a_row: int) -> float:
    """How long an endpoint is not called after a failure."""
    return float(min(max(failures_in_a_row - COOLDOWN_AFTER_FAILURES + 1, 0), COOLDOWN_SECONDS_MAX))


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds of a `Retry-After` header (seconds or a date), at most a day; None if missing or malformed."""
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
