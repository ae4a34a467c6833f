"""Signatures: `X-Signature: t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`, both ways."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

TOLERANCE_SECONDS: Final = 300
_FORM: Final = re.compile(r"t=(\d{1,12}),\s*v1=([0-9a-f]{64})")


class BadSignature(Exception):
    """The signature is missing, malformed, too old, or not made with our secret."""


def sign(secret: str, body: bytes, timestamp_seconds: int) -> str:
    """The header's value for a body."""
    return f"t={timestamp_seconds},v1={_digest(secret, body, str(timestamp_seconds))}"


def verify(header: str | None, secrets: Iterable[str], body: bytes, now_seconds: float) -> None:
    """Accepts a body signed with one of the secrets within 300 seconds of now; compares in constant time.

    Raises:
        BadSignature: otherwise; the sentence says what is wrong, never what would be right.
    """
    if header is None:
        raise BadSignature("The X-Signature header is missing")
    match = _FORM.fullmatch(header.strip())
    if match is None:
        raise BadSignature("The X-Signature header is not of the form t={unix seconds},v1={hex HMAC-SHA256}")
    if abs(now_seconds - int(match[1])) > TOLERANCE_SECONDS:
        raise BadSignature(f"The signature's time is more than {TOLERANCE_SECONDS} seconds away")
    checks = [hmac.compare_digest(_digest(secret, body, match[1]), match[2]) for secret in secrets if secret]
    if not any(checks):
        raise BadSignature("The signature does not match the body")


def _digest(secret: str, body: bytes, timestamp: str) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
