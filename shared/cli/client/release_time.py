"""`--at`: a time as people say it, made into one moment; what could mean two moments, or none, is refused."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.cli.client.errors import UsageError

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
AHEAD_DAYS_MAX: Final = 366
FORMS: Final = '"Friday 17:00", "tomorrow 9am", "17:00", "2026-11-27 17:00", or ISO 8601 with an offset'

_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))?\s*(?P<half>am|pm)?", re.IGNORECASE)
_DAY_AND_CLOCK = re.compile(r"(?:(?P<day>[a-z]+|[0-9]{4}-[0-9]{2}-[0-9]{2})\s+)?(?P<clock>[0-9].*)", re.IGNORECASE)


def parse_release_time(text: str, now: datetime, zone_name: str | None) -> datetime:
    """The moment that is meant, with its offset, to the second. A day's name means its next one, today included: one
    whose time has passed is not moved by a week, see `check_release_time`.

    Raises:
        Misused: it can't be read, or the clocks change just then.

    """
    zone = _zone(zone_name)
    text = " ".join(text.split())
    found = _absolute(text)
    if found is None:
        found = _local(*_day_and_clock(text, now.astimezone(zone)), zone, text)
    return found.replace(microsecond=0)


def check_release_time(at: datetime, now: datetime) -> None:
    """Raises Misused where the moment has passed, or is too far ahead."""
    if at <= now:
        raise UsageError(f"{format_time(at)} has passed; leave --at out to pay now, or give the date you mean")
    if at - now > timedelta(days=AHEAD_DAYS_MAX):
        raise UsageError(f"{format_time(at)} is more than {AHEAD_DAYS_MAX} days ahead")


def format_time(at: datetime) -> str:
    """`Friday 2026-11-27 17:00 -06:00 (23:00 UTC)`: nobody has to guess the zone."""
    utc = at.astimezone(UTC)
    day = "" if utc.date() == at.date() else f"{utc:%Y-%m-%d} "
    return f"{at:%A %Y-%m-%d %H:%M} {at.isoformat()[-6:]} ({day}{utc:%H:%M} UTC)"


def format_local_time(text: str) -> str:
    """A time of the API in this machine's zone, described."""
    return format_time(datetime.fromisoformat(text).astimezone())


def format_short_time(text: str) -> str:
    """A time of the API by this machine's clock, for a table: 2026-11-27 17:00."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"


def _zone(name: str | None) -> tzinfo | None:
    """The named zone; None is this machine's, whose rules `astimezone` knows."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r} here; say it as in America/Chicago") from None


def _absolute(text: str) -> datetime | None:
    """ISO 8601 with an offset or Z; None where it has none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _day_and_clock(text: str, today: datetime) -> tuple[date, time]:
    text = re.sub(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[tT]", r"\1 ", text)
    found = _DAY_AND_CLOCK.fullmatch(text)
    if found is None:
        raise UsageError(f"--at {text!r} can't be read; say it as in {FORMS}")
    return _day(found["day"], today.date(), text), _clock(found["clock"], text)


def _day(name: str | None, today: date, text: str) -> date:
    name = (name or "today").lower()
    if name in ("today", "tomorrow"):
        return today + timedelta(days=name == "tomorrow")
    for number, weekday in enumerate(WEEKDAYS):
        if name in (weekday, weekday[:3]):
            return today + timedelta(days=(number - today.weekday()) % 7)
    try:
        return date.fromisoformat(name)
    except ValueError:
        raise UsageError(f"--at {text!r} names no day; say it as in {FORMS}") from None


def _clock(clock: str, text: str) -> time:
    found = _CLOCK.fullmatch(re.sub(r"^([0-9]{1,2}:[0-9]{2}):00$", r"\1", clock))
    if found is None or not (found["minute"] or found["half"]):
        raise UsageError(f"--at {text!r} has no time of day, as in 17:00 or 5pm")
    hour, minute, half = int(found["hour"]), int(found["minute"] or 0), (found["half"] or "").lower()
    if half and not 1 <= hour <= 12:
        raise UsageError(f"--at {text!r} has an hour that is not on the clock")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        raise UsageError(f"--at {text!r} has a time of day that does not exist")
    return time(hour, minute)


def _local(day: date, clock: time, zone: tzinfo | None, text: str) -> datetime:
    """The moment of a local time; refused where the clocks skip it or show it twice."""
    wall = datetime.combine(day, clock)
    first, second = (_in_zone(wall.replace(fold=fold), zone) for fold in (0, 1))
    there = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if (there.hour, there.minute) != (wall.hour, wall.minute):
        raise UsageError(f"{text}: there is no {wall:%H:%M} on {wall:%Y-%m-%d}, the clocks are put forward then")
    if first.utcoffset() != second.utcoffset():
        raise UsageError(
            f"{text}: {wall:%H:%M} is there twice on {wall:%Y-%m-%d}, the clocks are put back then; "
            f"say {first.isoformat()} or {second.isoformat()}"
        )
    return first


def _in_zone(wall: datetime, zone: tzinfo | None) -> datetime:
    return wall.astimezone() if zone is None else wall.replace(tzinfo=zone)
