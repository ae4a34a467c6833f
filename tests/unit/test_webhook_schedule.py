"""The schedule of webhook retries: its delays, `Retry-After`, and what the documents say about it."""

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.events.retry_schedule import RETRY_DELAYS_SECONDS, RETRY_SPAN, parse_retry_after, retry_delay_seconds

ROOT = Path(__file__).parents[2]
STATED = re.compile(r"(\d+)\s+attempts\s+over\s+([\d.]+)\s+days")


def test_delays_follow_standard_webhooks_with_at_most_a_fifth_of_jitter() -> None:
    minute, hour = 60, 3600
    delays = [0, 5, 5 * minute, 30 * minute, *(hours * hour for hours in (2, 5, 10, 14, 20, 24))]
    assert list(RETRY_DELAYS_SECONDS) == delays
    for attempts, seconds in enumerate(delays[1:], 1):
        assert retry_delay_seconds(attempts, None, 0.0) == seconds
        assert retry_delay_seconds(attempts, None, 1.0) == pytest.approx(seconds * 1.2)
    assert retry_delay_seconds(len(delays), None, 0.5) is None


def test_retry_after_extends_the_delay_and_never_shortens_it() -> None:
    assert retry_delay_seconds(1, 90.0, 1.0) == 90.0
    assert retry_delay_seconds(9, 90.0, 0.0) == 24 * 3600


def test_documents_state_the_attempts_and_days_of_the_schedule() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "gateway/*.py", "shared/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    stated = {
        (name, match[1], match[2])
        for name in listed.stdout.split()
        if (ROOT / name).is_file()
        for match in STATED.finditer((ROOT / name).read_text())
    }
    days = f"{RETRY_SPAN / timedelta(days=1):.1f}"
    assert [one for one in stated if one[1:] != (str(len(RETRY_DELAYS_SECONDS)), days)] == []
    assert "gateway/handlers/webhook_endpoints.py" in {name for name, *_ in stated}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999999", 86_400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped_at_a_day(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, datetime.now(UTC)) == seconds
