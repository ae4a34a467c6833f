"""How does the simulator tell time and name things?"""

import random
import time
from datetime import UTC, datetime
from functools import lru_cache

_last_tick = 0


def now_seconds() -> float:
    return time.time()


def format_time(unix_seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, fixed width: text order is time order."""
    return _moment_of_millisecond(int(unix_seconds * 1_000))


@lru_cache(maxsize=64)
def _moment_of_millisecond(milliseconds: int) -> str:
    # Cached, since whatever happens in one turn of the event loop happens in the same few milliseconds.
    text = datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def now_text() -> str:
    return format_time(time.time())


def parse_time(text: str, *, end_of_day: bool = False) -> str:
    """The fixed-width form of a client's RFC 3339 date or time. Raises ValueError.

    A "+" that a client left unescaped in a query arrives as a space.
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
    """An id whose text order is its order of creation, so that "newest first" is the primary key backwards."""
    global _last_tick
    _last_tick = max(_last_tick + 1, time.time_ns() // 1_000)
    return f"{prefix}_{_last_tick:013x}{random.getrandbits(24):06x}"
