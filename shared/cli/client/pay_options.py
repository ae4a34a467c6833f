"""What `ovnpay pay` was asked: its options, and the wish that they make."""

from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from shared.cli.client import batch_drafts
from shared.cli.client import release_time as times
from shared.cli.client.batch_drafts import PaymentTerms
from shared.cli.client.errors import UsageError

REASON_LENGTH_MAX: Final = 500


class PayOptions(NamedTuple):
    """What the command was given."""

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
    """What the options ask for.

    Raises:
        Misused: they contradict each other, or can't be read.

    """
    if options.at is not None and options.hold:
        raise UsageError("--at schedules and --hold does not; give one of them")
    if options.allow_duplicates != (options.reason is not None):
        raise UsageError("--allow-duplicates needs --reason TEXT, and --reason is for it alone")
    if options.reason is not None and not 0 < len(options.reason.strip()) <= REASON_LENGTH_MAX:
        raise UsageError(f"--reason must say something, in at most {REASON_LENGTH_MAX} characters")
    if options.timezone is not None and options.at is None:
        raise UsageError("--timezone is for --at")
    name = (options.name or f"{options.file.stem} {now.astimezone():%Y-%m-%d}").strip()
    if not 0 < len(name) <= batch_drafts.NAME_LENGTH_MAX - len(" (same_day)") or not name.isprintable():
        raise UsageError("--name must be printable, and shorter than 190 characters")
    at = None if options.at is None else times.parse_release_time(options.at, now, options.timezone)
    return PaymentTerms(name, at, options.hold, options.reason and options.reason.strip())
