"""Timestamps and ids."""

import random
import time
from datetime import UTC, datetime
from functools import lru_cache

_last_microsecond = 0


def now_seconds() -> float:
    return time.time()


def format_time(unix_seconds: float) -> str:
    """Return RFC 3339 in UTC with milliseconds; fixed width, so text order is time order."""
    return _format_milliseconds(int(unix_seconds * 1_000))


@lru_cache(maxsize=64)
def _format_milliseconds(milliseconds: int) -> str:
    # Cached: changes of one event loop iteration happen in the same few milliseconds.
    text = datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def now_text() -> str:
    return format_time(time.time())


def parse_time(text: str, *, end_of_day: bool = False) -> str:
    """Return the fixed-width form of a client's RFC 3339 date or time; raise ValueError if it is invalid.

    An unescaped "+" in a query arrives as a space.
    """
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "+"))
        if len(text.strip()) == 10 and end_of_day:
            at = at.replace(hour=23, minute=59, second=59, microsecond=999_000)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"


def new_id(prefix: str) -> str:
    """Return an id whose text order is the order of creation."""
    global _last_microsecond
    _last_microsecond = max(_last_microsecond + 1, time.time_ns() // 1_000)
    return f"{prefix}_{_last_microsecond:013x}{random.getrandbits(24):06x}"
