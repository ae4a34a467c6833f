"""Text for a terminal: amounts, times, untrusted text."""

import unicodedata
from datetime import UTC, datetime


def format_money(cents: int) -> str:
    """Format cents as dollars: $1,234.56."""
    sign, cents = ("-" if cents < 0 else ""), abs(cents)
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def format_time(at: datetime) -> str:
    """`Friday 2026-11-27 17:00 -06:00 (23:00 UTC)`."""
    utc = at.astimezone(UTC)
    day = "" if utc.date() == at.date() else f"{utc:%Y-%m-%d} "
    return f"{at:%A %Y-%m-%d %H:%M} {at.isoformat()[-6:]} ({day}{utc:%H:%M} UTC)"


def format_local_time(text: str) -> str:
    """Format a time of the API in this machine's zone."""
    return format_time(datetime.fromisoformat(text).astimezone())


def format_short_time(text: str) -> str:
    """Format a time of the API for a table: 2026-11-27 17:00."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"


def is_visible(character: str) -> bool:
    """Return False for characters that could hide text or control a terminal."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def sanitize_text(text: str) -> str:
    """Replace invisible characters of untrusted text."""
    return "".join(character if is_visible(character) else "\N{REPLACEMENT CHARACTER}" for character in text)
