"""What looks like a secret, and how it is shown where it must not be: the second line of defence of every log.

The first is that nothing secret is given to a logger. This one is for what libraries and strangers say.
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
"""Of which text without an @ has one, if it has anything to mask."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_\[\]-]{0,63}")
MASK: Final = "…"


def mask_secrets(text: str) -> str:
    """The text without API keys, tokens, provider keys, passwords in URLs, and email addresses."""
    if "@" in text:
        pattern = _SECRETS
    else:
        folded = text.casefold()
        if not any(mark in folded for mark in _MARKS):
            return text  # nearly every line: one of fifty ids would be searched for a key from each letter
        pattern = _WITHOUT_AT
    return pattern.sub(lambda found: "".join(part or "" for part in found.groups()) + MASK, text)


def echo_field_name(text: str) -> str:
    """A field's name as an error may repeat it: as it is where it can be one, and is no key put in the wrong place."""
    return text if _NAME.fullmatch(text) and mask_secrets(text) == text else MASK
