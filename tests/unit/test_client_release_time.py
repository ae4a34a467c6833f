"""`--at` is parsed to one moment; past, skipped and repeated times are rejected."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.cli.client import release_time
from shared.cli.client.errors import UsageError
from shared.cli.client.formatting import format_time

CHICAGO = "America/Chicago"
TUESDAY = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)  # 09:00 in Chicago


def utc(text: str, now: datetime = TUESDAY, zone: str | None = CHICAGO) -> str:
    """Parse and check a time, and return it in UTC."""
    found = release_time.parse_release_time(text, now, zone)
    release_time.check_release_time(found, now)
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Friday 17:00", "2026-11-27 23:00"),
        ("fri 5pm", "2026-11-27 23:00"),
        ("  friday   5:00 PM ", "2026-11-27 23:00"),
        ("Tuesday 17:00", "2026-11-24 23:00"),
        ("17:00", "2026-11-24 23:00"),
        ("today 12pm", "2026-11-24 18:00"),
        ("tomorrow 9am", "2026-11-25 15:00"),
        ("tomorrow 12am", "2026-11-25 06:00"),
        ("2026-11-27 17:00", "2026-11-27 23:00"),
        ("2026-11-27T17:00:00", "2026-11-27 23:00"),
        ("2026-11-27T17:00:00-05:00", "2026-11-27 22:00"),
        ("2026-11-27T17:00:00Z", "2026-11-27 17:00"),
    ],
)
def test_time_is_parsed(text: str, expected: str) -> None:
    assert utc(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Tuesday 08:00", "has passed"),  # and not moved by a week
        ("08:59", "has passed"),
        ("2026-11-20 17:00", "has passed"),
        ("2028-01-01 17:00", "days ahead"),
        ("Friday", "is not a time"),
        ("Friday 17", "no time of day"),
        ("Friday 25:00", "does not exist"),
        ("Friday 13pm", "must be 1 to 12"),
        ("Freitag 17:00", "has no valid day"),
        ("2026-02-30 17:00", "has no valid day"),
        ("soon", "is not a time"),
    ],
)
def test_invalid_time_is_rejected(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        utc(text)


def test_offset_is_that_of_the_target_day() -> None:
    """In Chicago, daylight saving time ends between that Friday and Monday."""
    before_the_change = datetime(2026, 10, 29, 15, 0, tzinfo=UTC)
    assert utc("Friday 17:00", before_the_change) == "2026-10-30 22:00"
    assert utc("Monday 17:00", before_the_change) == "2026-11-02 23:00"


def test_skipped_or_repeated_time_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"02:30 does not exist on 2026-03-08"):
        utc("2026-03-08 02:30", datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(UsageError, match=r"twice .* use 2026-11-01T01:30:00-05:00 or 2026-11-01T01:30:00-06:00"):
        utc("2026-11-01 01:30", datetime(2026, 10, 30, tzinfo=UTC))
    assert utc("2026-11-01T01:30:00-06:00", datetime(2026, 10, 30, tzinfo=UTC)) == "2026-11-01 07:30"


@pytest.fixture
def machine_in_chicago(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set this machine's time zone to Chicago."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", CHICAGO)
    time.tzset()
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()


@pytest.mark.usefixtures("machine_in_chicago")
def test_default_zone_is_that_of_the_machine() -> None:
    assert utc("Friday 17:00", zone=None) == "2026-11-27 23:00"
    assert utc("Friday 17:00", datetime(2026, 10, 29, 15, 0, tzinfo=UTC), zone=None) == "2026-10-30 22:00"
    with pytest.raises(UsageError, match="02:30 does not exist"):
        utc("2026-03-08 02:30", datetime(2026, 3, 1, tzinfo=UTC), zone=None)
    with pytest.raises(UsageError, match="occurs twice"):
        utc("2026-11-01 01:30", datetime(2026, 10, 30, tzinfo=UTC), zone=None)


def test_time_is_formatted_with_offset_and_utc() -> None:
    assert (
        format_time(release_time.parse_release_time("Friday 17:00", TUESDAY, CHICAGO))
        == "Friday 2026-11-27 17:00 -06:00 (23:00 UTC)"
    )
    late = format_time(release_time.parse_release_time("Friday 19:00", TUESDAY, CHICAGO))
    assert late == "Friday 2026-11-27 19:00 -06:00 (2026-11-28 01:00 UTC)"


def test_unknown_zone_is_rejected() -> None:
    with pytest.raises(UsageError, match="no time zone 'Chicago'"):
        release_time.parse_release_time("Friday 17:00", TUESDAY, "Chicago")
