"""Options of `ovnpay pay`, and the payment terms that they give."""

from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from shared.cli.client import batch_drafts, release_time
from shared.cli.client.batch_drafts import PaymentTerms
from shared.cli.client.errors import UsageError

REASON_LENGTH_MAX: Final = 500


class PayOptions(NamedTuple):
    """Options of the command line."""

    file: Path
    urgency: str | None
    name: str | None
    at: str | None
    timezone: str | None
    hold: bool
    dry_run: bool
    yes: bool
    follow: bool
    allow_duplicates: bool
    reason: str | None
    results: Path | None


def payment_terms(options: PayOptions, now: datetime) -> PaymentTerms:
    """Return the terms that the options give.

    Raises:
        UsageError: options contradict each other or are malformed.

    """
    if options.at is not None and options.hold:
        raise UsageError("--at and --hold can't be combined: --at releases at a time, --hold never")
    if options.allow_duplicates != (options.reason is not None):
        raise UsageError("--allow-duplicates and --reason TEXT need each other")
    if options.reason is not None and not 0 < len(options.reason.strip()) <= REASON_LENGTH_MAX:
        raise UsageError(f"--reason must have 1 to {REASON_LENGTH_MAX} characters")
    if options.timezone is not None and options.at is None:
        raise UsageError("--timezone needs --at")
    name = (options.name or f"{options.file.stem} {now.astimezone():%Y-%m-%d}").strip()
    if not 0 < len(name) <= batch_drafts.NAME_LENGTH_MAX - len(" (same_day)") or not name.isprintable():
        raise UsageError("--name must be printable and shorter than 190 characters")
    scheduled_for = None
    if options.at is not None:
        scheduled_for = release_time.parse_release_time(options.at, now, options.timezone)
    return PaymentTerms(name, scheduled_for, options.hold, options.reason and options.reason.strip())
