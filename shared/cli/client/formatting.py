"""Text for people: amounts, times, and text from outside made safe for a terminal."""

import unicodedata
from datetime import UTC, datetime


def format_money(cents: int) -> str:
    """Format cents as dollars: $1,234.56."""
    sign, cents = ("-" if cents < 0 else ""), abs(cents)
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def format_time(at: datetime) -> str:
    """Format a time with its zone and in UTC: `Friday 2026-11-27 17:00 -06:00 (23:00 UTC)`."""
    utc = at.astimezone(UTC)
    day = "" if utc.date() == at.date() else f"{utc:%Y-%m-%d} "
    return f"{at:%A %Y-%m-%d %H:%M} {at.isoformat()[-6:]} ({day}{utc:%H:%M} UTC)"


def format_local_time(text: str) -> str:
    """Format an RFC 3339 time of the API in this machine's time zone, with the offset and in UTC."""
    return format_time(datetime.fromisoformat(text).astimezone())


def format_short_time(text: str) -> str:
    """Format an RFC 3339 time of the API in this machine's time zone, for a table: 2026-11-27 17:00."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"


def is_visible(character: str) -> bool:
    """Return whether a character is a letter, digit, sign or space.

    Control characters, invisible ones and those that change the writing direction are not: they could hide text or
    steer a terminal.
    """
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def sanitize_text(text: str) -> str:
    """Replace the characters of untrusted text that are not visible."""
    return "".join(character if is_visible(character) else "\N{REPLACEMENT CHARACTER}" for character in text)
