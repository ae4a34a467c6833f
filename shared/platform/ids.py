"""Ids: UUIDv7 in the database; in public `prefix_` and 26 base32 characters (the TypeID convention)."""

import re
import uuid
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from uuid_utils.compat import uuid7

DRIVER: Final = "drv"
PAYOUT: Final = "pay"
TRANSACTION: Final = "txn"
SUBMISSION: Final = "sub"
BATCH: Final = "batch"
KEY: Final = "key"
LOG: Final = "log"
AUDIT: Final = "aud"
USER: Final = "user"
WALLET: Final = "wallet"
ORGANIZATION: Final = "org"
EVENT: Final = "evt"
WEBHOOK: Final = "whe"
CASE: Final = "case"

ID_CLOCK_SKEW_MAX: Final = timedelta(minutes=10)
"""Maximum difference between the time in a row's id and the row's own time; range scans by id widen by it."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_SUFFIX: Final = re.compile(rf"[0-7][{_ALPHABET}]{{25}}")


def new_id() -> uuid.UUID:
    """Return a new UUIDv7: ids sort by creation time, to the millisecond."""
    return uuid7()


def first_id_at(moment: datetime, later: timedelta = timedelta(0)) -> uuid.UUID:
    """Return the smallest possible id of the time `moment + later`, to bound a range scan by id."""
    milliseconds = int(moment.timestamp() * 1000) + later // timedelta(milliseconds=1)
    return uuid.UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


@lru_cache(maxsize=4096)  # a response, its event, its audit entry and the log show the same few
def public_id(prefix: str, value: uuid.UUID) -> str:
    """Format an id for the public, such as `pay_01kafz…`."""
    number = value.int
    pairs = _PAIRS
    return f"{prefix}_" + "".join([pairs[(number >> shift) & 0x3FF] for shift in range(120, -1, -10)])


def echo_id(prefix: str, text: str) -> str:
    """Return `text` for an error message if it is a valid id; anything else could be a secret."""
    return text if parse_id(prefix, text) is not None else "with such an id"


def parse_id(prefix: str, text: str) -> uuid.UUID | None:
    """Parse a public id; None if it can't be one of ours (to a caller it is unknown)."""
    head, separator, suffix = text.rpartition("_")
    if head != prefix or not separator or not _SUFFIX.fullmatch(suffix):
        return None
    number = 0
    for character in suffix:
        number = number << 5 | _VALUES[character]
    return uuid.UUID(int=number)
