"""What a call to the provider came to, and the one place that decides what may be repeated.

Everything that is sent carries an idempotency key that is written down first, so repeating is always safe;
calling something failed is what must be certain.
"""

import math
import re
from typing import Any, Final, NamedTuple


class Accepted(NamedTuple):
    """The provider answered 2xx."""

    data: Any
    next_cursor: str | None = None
    """Of a list: where its next page begins."""


class Rejected(NamedTuple):
    """The provider definitely did not do it and will not: the request itself is at fault."""

    code: str
    message: str


class Throttled(NamedTuple):
    """The provider did nothing, for now: ask again after `retry_after_seconds`, with the same key."""

    retry_after_seconds: float


class Unknown(NamedTuple):
    """It may have been done: ask again with the same key, or look it up; never a new key, never "failed"."""

    reason: str
    """In our words, with the provider's code at most: it may be logged."""
    said: str = ""
    """The provider's words, which may repeat what it was sent: for the row, never for a log."""

    @property
    def explanation(self) -> str:
        """Both, as a row keeps it."""
        return f"{self.reason}: {self.said}" if self.said else self.reason


class Withheld(NamedTuple):
    """We have not sent it: its money is held since we last looked."""

    @property
    def explanation(self) -> str:
        """As a row keeps it."""
        return "not sent: its money is held"


CallOutcome = Accepted | Rejected | Throttled | Unknown | Withheld

DEFINITE_REJECTION_STATUSES: Final = frozenset({400, 402, 404, 422})
"""The statuses with which the provider says: understood, and no.

Not among them, so asked again with the same key: 401 and 403 (our credentials are broken, not the payout), 408,
409 (another call with the key is under way), 425, every 5xx, and whatever we do not know.
"""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
RETRY_AFTER_DEFAULT_SECONDS: Final = 5.0
RETRY_AFTER_MAX_SECONDS: Final = 3600.0


def classify_response(status: int, body: Any, retry_after: str | None) -> CallOutcome:
    """What an HTTP answer means."""
    content = body if isinstance(body, dict) else {}
    if 200 <= status < 300:
        if "data" not in content:
            return Unknown(f"{status} without data")
        meta = content.get("meta")
        cursor = meta.get("nextCursor") if isinstance(meta, dict) else None
        return Accepted(content["data"], cursor if isinstance(cursor, str) else None)
    error = content.get("error")
    error = error if isinstance(error, dict) else {}
    code = _text(error.get("code"))
    code = code if _CODE.fullmatch(code) else f"HTTP_{status}"
    message = _text(error.get("message")) or f"Paystream answered {status}"
    if status == 429:
        return Throttled(_seconds(retry_after))
    if status in DEFINITE_REJECTION_STATUSES and error.get("code"):
        return Rejected(code, message)
    return Unknown(f"{status} {code}", message)


def _text(value: Any) -> str:
    """A stranger's words as the database can hold them."""
    return str(value or "").replace("\0", "").encode("utf-8", "replace").decode()[:500]


def _seconds(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or RETRY_AFTER_DEFAULT_SECONDS)
    except ValueError:
        seconds = RETRY_AFTER_DEFAULT_SECONDS
    if math.isnan(seconds):
        seconds = RETRY_AFTER_DEFAULT_SECONDS
    return min(max(seconds, 0.1), RETRY_AFTER_MAX_SECONDS)


def backoff_seconds(attempts: int, *, first_seconds: float = 1.0, max_seconds: float = 300.0) -> float:
    """How long to wait before asking again, after `attempts` tries: doubling, bounded."""
    return min(first_seconds * 2.0 ** min(max(attempts - 1, 0), 30), max_seconds)
