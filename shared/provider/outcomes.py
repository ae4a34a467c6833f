"""Outcomes of provider calls, and the one place that decides what may be retried.

Every request has a committed idempotency key, so a retry is safe; calling a payment failed must be certain.
"""

import math
import re
from typing import Any, Final, NamedTuple


class Accepted(NamedTuple):
    """The provider answered 2xx."""

    data: Any
    next_cursor: str | None = None
    """Cursor of a list's next page."""


class Rejected(NamedTuple):
    """A definite failure: the provider did not process the request and never will."""

    code: str
    message: str


class Throttled(NamedTuple):
    """Not processed yet: retry after `retry_after_seconds` with the same key."""

    retry_after_seconds: float


class Unknown(NamedTuple):
    """Possibly processed: retry with the same key or look it up. Never use a new key, never mark it failed."""

    reason: str
    """Safe to log: our own words, with at most the provider's code."""
    provider_message: str = ""
    """The provider's message. It may repeat request data, so it is stored with the row but never logged."""

    @property
    def explanation(self) -> str:
        """The text to store in the row."""
        return f"{self.reason}: {self.provider_message}" if self.provider_message else self.reason


class Withheld(NamedTuple):
    """Not sent: an outgoing hold was placed after the submission was leased."""

    @property
    def explanation(self) -> str:
        """The text to store in the row."""
        return "not sent: its money is on hold"


CallOutcome = Accepted | Rejected | Throttled | Unknown | Withheld

DEFINITE_REJECTION_STATUSES: Final = frozenset({400, 402, 404, 422})
"""Statuses that mean: understood, and rejected.

All others are retried with the same key: 401 and 403 (our credentials are wrong, not the payout), 408, 409 (another
call with the key is in progress), 425, every 5xx, and any status that we do not know.
"""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
RETRY_AFTER_DEFAULT_SECONDS: Final = 5.0
RETRY_AFTER_MAX_SECONDS: Final = 3600.0


def classify_response(status: int, body: Any, retry_after: str | None) -> CallOutcome:
    """Return the outcome that an HTTP response stands for; `retry_after` is the header's value."""
    content = body if isinstance(body, dict) else {}
    if 200 <= status < 300:
        if "data" not in content:
            return Unknown(f"{status} without data")
        meta = content.get("meta")
        cursor = meta.get("nextCursor") if isinstance(meta, dict) else None
        return Accepted(content["data"], cursor if isinstance(cursor, str) else None)
    error = content.get("error")
    error = error if isinstance(error, dict) else {}
    code = _storable_text(error.get("code"))
    code = code if _CODE.fullmatch(code) else f"HTTP_{status}"
    message = _storable_text(error.get("message")) or f"Paystream answered {status}"
    if status == 429:
        return Throttled(_parse_retry_after(retry_after))
    if status in DEFINITE_REJECTION_STATUSES and error.get("code"):
        return Rejected(code, message)
    return Unknown(f"{status} {code}", message)


def _storable_text(value: Any) -> str:
    return str(value or "").replace("\0", "").encode("utf-8", "replace").decode()[:500]


def _parse_retry_after(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or RETRY_AFTER_DEFAULT_SECONDS)
    except ValueError:
        seconds = RETRY_AFTER_DEFAULT_SECONDS
    if math.isnan(seconds):
        seconds = RETRY_AFTER_DEFAULT_SECONDS
    return min(max(seconds, 0.1), RETRY_AFTER_MAX_SECONDS)


def backoff_seconds(attempts: int, *, first_seconds: float = 1.0, max_seconds: float = 300.0) -> float:
    """Return the delay after `attempts` tries: `first_seconds`, doubled each time, at most `max_seconds`."""
    return min(first_seconds * 2.0 ** min(max(attempts - 1, 0), 30), max_seconds)
