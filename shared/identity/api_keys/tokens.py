"""Tokens: the form of API keys and session tokens, and what is stored of them.

A prefix, 43 base62 characters (256 bits), 6 base62 characters of checksum. The checksum lets junk be refused without a
visit to the database; the hash under a secret pepper is all that is stored.
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
_FORM: Final = re.compile(r"((ovnp_[a-z]{4}_)[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


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
    """A new API key, 256 random bits."""
    return _generate(KEY_PREFIXES[mode])


def generate_session_token() -> str:
    """A new session token, 256 random bits."""
    return _generate(SESSION_PREFIX)


def is_well_formed_key(text: str) -> bool:
    """Whether the text can be an API key at all: its form and its checksum are right."""
    return _well_formed(text) in KEY_PREFIXES.values()


def is_well_formed_session_token(text: str) -> bool:
    """Whether the text can be a session token at all."""
    return _well_formed(text) == SESSION_PREFIX


def _well_formed(text: str) -> str | None:
    match = _FORM.fullmatch(text)
    return match[2] if match and hmac.compare_digest(_checksum(match[1]), match[3]) else None


def pepper_tag(pepper: str) -> bytes:
    """By which a pepper is known again, and nobody could find it out."""
    return hmac.digest(pepper.encode(), b"ovnpay pepper tag", hashlib.sha256)[:8]


def hash_token(text: str, pepper: str) -> bytes:
    """What is stored of a token."""
    return hmac.digest(pepper.encode(), text.encode(), hashlib.sha256)
