"""Format of API keys and session tokens, and the stored hash.

A prefix, 43 random base62 characters (256 bits) and a checksum of 6: malformed text is refused without a query.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import Final

from shared.schema.organizations import Mode

KEY_PREFIXES: Final = {Mode.SANDBOX: "ovnp_sbox_", Mode.PRODUCTION: "ovnp_prod_"}
SESSION_PREFIX: Final = "ovnp_sess_"

_BASE62: Final = string.digits + string.ascii_letters
_FORMAT: Final = re.compile(r"((ovnp_[a-z]{4}_)[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode())
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits


def _generate(prefix: str) -> str:
    head = prefix + "".join(secrets.choice(_BASE62) for _ in range(43))
    return head + _checksum(head)


def generate_key(mode: Mode) -> str:
    return _generate(KEY_PREFIXES[mode])


def generate_session_token() -> str:
    return _generate(SESSION_PREFIX)


def is_well_formed_key(text: str) -> bool:
    """Whether format and checksum are those of an API key."""
    return _well_formed_prefix(text) in KEY_PREFIXES.values()


def is_well_formed_session_token(text: str) -> bool:
    """Whether format and checksum are those of a session token."""
    return _well_formed_prefix(text) == SESSION_PREFIX


def _well_formed_prefix(text: str) -> str | None:
    match = _FORMAT.fullmatch(text)
    return match[2] if match and hmac.compare_digest(_checksum(match[1]), match[3]) else None


def pepper_tag(pepper: str) -> bytes:
    """Eight bytes that identify a pepper without revealing it."""
    return hmac.digest(pepper.encode(), b"ovnpay pepper tag", hashlib.sha256)[:8]


def hash_token(text: str, pepper: str) -> bytes:
    """HMAC-SHA256 under the pepper, the only stored form."""
    return hmac.digest(pepper.encode(), text.encode(), hashlib.sha256)
