"""Masking of text that looks like a secret, for what libraries, providers and customers put into a log line.

The first safeguard is never to pass a secret to a logger.
"""

import re
from typing import Final

_KEYS: Final = (
    r"(?P<key>\b(?:ovnp_(?:sbox|prod|sess)|psk_(?:test|live)|whsec)_)[0-9A-Za-z_-]{6,}"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[^\s'\"\\,;]{6,}"
)
_WITHOUT_AT: Final = re.compile(_KEYS, re.IGNORECASE)
_SECRETS: Final = re.compile(
    _KEYS + r"|(?P<url>\b[a-z][a-z0-9+]{0,20}://[^\s:/@'\"]{0,64}:)[^\s/@'\"]+(?=@)"
    r"|(?P<email>)\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
    re.IGNORECASE,
)
_MARKS: Final = ("ovnp_", "psk_", "whsec_", "bearer", "basic")
"""Text without an @ that contains none of these has nothing to mask."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_\[\]-]{0,63}")
MASK: Final = "…"


def mask_secrets(text: str) -> str:
    """Return the text without API keys, tokens, provider keys, passwords in URLs, and email addresses."""
    if "@" in text:
        pattern = _SECRETS
    else:
        folded = text.casefold()
        if not any(mark in folded for mark in _MARKS):
            return text  # the common case: the patterns cost much on a line with fifty ids
        pattern = _WITHOUT_AT
    return pattern.sub(lambda found: "".join(part or "" for part in found.groups()) + MASK, text)


def echo_field_name(text: str) -> str:
    """Return a field's name for an error message, masked unless it is a plausible name and not a misplaced key."""
    return text if _NAME.fullmatch(text) and mask_secrets(text) == text else MASK
