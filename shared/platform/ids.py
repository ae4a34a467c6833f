"""Ids: UUIDv7 in the database, `prefix_` + 26 base32 characters in public (the TypeID convention)."""

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
"""How far the time in an id, which finds the place in the index, may be from the row's own."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_SUFFIX: Final = re.compile(rf"[0-7][{_ALPHABET}]{{25}}")


def new_id() -> uuid.UUID:
    """A new UUIDv7: ids made later sort later, to the millisecond."""
    return uuid7()


def first_id_at(moment: datetime, later: timedelta = timedelta(0)) -> uuid.UUID:
    """The first id of a time so much later, or the nearest one that there is: where to look in an index that is ordered
    by ids.
    """
    milliseconds = int(moment.timestamp() * 1000) + later // timedelta(milliseconds=1)
    return uuid.UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


@lru_cache(maxsize=4096)  # an answer, an event, the audit log and our own log show the same few
def public_id(prefix: str, value: uuid.UUID) -> str:
    """The public form of an id, as in `pay_01kafz…`."""
    number = value.int
    pairs = _PAIRS
    return f"{prefix}_" + "".join([pairs[(number >> shift) & 0x3FF] for shift in range(120, -1, -10)])


def echo_id(prefix: str, text: str) -> str:
    """An id as an error may repeat it: what can't be one may be anything, a key in the wrong place too."""
    return text if parse_id(prefix, text) is not None else "with such an id"


def parse_id(prefix: str, text: str) -> uuid.UUID | None:
    """The id behind its public form; None for whatever cannot be one of ours (to a caller: unknown)."""
    head, separator, suffix = text.rpartition("_")
    if head != prefix or not separator or not _SUFFIX.fullmatch(suffix):
        return None
    number = 0
    for character in suffix:
        number = number << 5 | _VALUES[character]
    return uuid.UUID(int=number)
