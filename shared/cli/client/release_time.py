"""Parser of `--at`: ambiguous or nonexistent times are errors."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.cli.client.errors import UsageError
from shared.cli.client.formatting import format_time

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
AHEAD_DAYS_MAX: Final = 366
EXAMPLES: Final = '"Friday 17:00", "tomorrow 9am", "17:00", "2026-11-27 17:00", or ISO 8601 with an offset'

_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))?\s*(?P<half>am|pm)?", re.IGNORECASE)
_DAY_AND_CLOCK = re.compile(r"(?:(?P<day>[a-z]+|[0-9]{4}-[0-9]{2}-[0-9]{2})\s+)?(?P<clock>[0-9].*)", re.IGNORECASE)


def parse_release_time(text: str, now: datetime, zone_name: str | None) -> datetime:
    """Return the moment, to the second. A weekday is the next one, including today, even if the time has passed.

    Raises:
        UsageError: the text is malformed, or the clocks change at that time.

    """
    zone = _load_zone(zone_name)
    text = " ".join(text.split())
    at = _parse_absolute(text)
    if at is None:
        at = _resolve_local(*_parse_day_and_clock(text, now.astimezone(zone)), zone, text)
    return at.replace(microsecond=0)


def check_release_time(at: datetime, now: datetime) -> None:
    """Raise UsageError if the moment has passed or is too far ahead."""
    if at <= now:
        raise UsageError(f"{format_time(at)} has passed; omit --at to pay now, or give a date")
    if at - now > timedelta(days=AHEAD_DAYS_MAX):
        raise UsageError(f"{format_time(at)} is more than {AHEAD_DAYS_MAX} days ahead")


def _load_zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r}; use a name such as America/Chicago") from None


def _parse_absolute(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _parse_day_and_clock(text: str, today: datetime) -> tuple[date, time]:
    text = re.sub(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[tT]", r"\1 ", text)
    match = _DAY_AND_CLOCK.fullmatch(text)
    if match is None:
        raise UsageError(f"--at {text!r} is not a time; use {EXAMPLES}")
    return _parse_day(match["day"], today.date(), text), _parse_clock(match["clock"], text)


def _parse_day(name: str | None, today: date, text: str) -> date:
    name = (name or "today").lower()
    if name in ("today", "tomorrow"):
        return today + timedelta(days=name == "tomorrow")
    for number, weekday in enumerate(WEEKDAYS):
        if name in (weekday, weekday[:3]):
            return today + timedelta(days=(number - today.weekday()) % 7)
    try:
        return date.fromisoformat(name)
    except ValueError:
        raise UsageError(f"--at {text!r} has no valid day; use {EXAMPLES}") from None


def _parse_clock(clock: str, text: str) -> time:
    match = _CLOCK.fullmatch(re.sub(r"^([0-9]{1,2}:[0-9]{2}):00$", r"\1", clock))
    if match is None or not (match["minute"] or match["half"]):
        raise UsageError(f"--at {text!r} has no time of day, such as 17:00 or 5pm")
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), (match["half"] or "").lower()
    if half and not 1 <= hour <= 12:
        raise UsageError(f"--at {text!r}: an hour with am or pm must be 1 to 12")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        raise UsageError(f"--at {text!r} has a time of day that does not exist")
    return time(hour, minute)


def _resolve_local(day: date, clock: time, zone: tzinfo | None, text: str) -> datetime:
    local = datetime.combine(day, clock)
    first, second = (_attach_zone(local.replace(fold=fold), zone) for fold in (0, 1))
    round_trip = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if (round_trip.hour, round_trip.minute) != (local.hour, local.minute):
        raise UsageError(f"{text}: {local:%H:%M} does not exist on {local:%Y-%m-%d}: the clocks go forward")
    if first.utcoffset() != second.utcoffset():
        raise UsageError(
            f"{text}: {local:%H:%M} occurs twice on {local:%Y-%m-%d}: the clocks go back; "
            f"use {first.isoformat()} or {second.isoformat()}"
        )
    return first


def _attach_zone(local: datetime, zone: tzinfo | None) -> datetime:
    return local.astimezone() if zone is None else local.replace(tzinfo=zone)
