"""Dates in tests: no test may depend on the hour of the day at which it runs."""

from datetime import UTC, datetime, timedelta

from tests.support.polling import until


def wait_out_midnight(seconds: float = 60) -> None:
    """Wait until midnight UTC has passed if it is nearer than that, so a test sees one date throughout."""

    def is_far() -> bool:
        now = datetime.now(UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - now > timedelta(seconds=seconds)

    until(is_far, "midnight has passed", seconds + 10, pause_seconds=1)
