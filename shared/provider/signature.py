"""Webhook signatures: sign and verify `X-Signature`.

The header is `t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`.
"""

import enum
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final

TOLERANCE_SECONDS: Final = 300
_FORM: Final = re.compile(r"t=([0-9]{1,12})((?:[ \t]*,[ \t]*v1=[0-9A-Fa-f]{64}){1,5})")
_DIGEST: Final = re.compile(r"v1=([0-9A-Fa-f]{64})")


class SignatureFlaw(enum.StrEnum):
    """Why a signature is invalid; a label of the metrics."""

    MISSING = "missing"
    MALFORMED = "malformed"
    STALE = "stale"
    """Its time differs too much from ours: a replay or a wrong clock."""
    WRONG = "wrong"
    """It does not match the body, the time and any of our secrets."""


class InvalidSignature(Exception):
    """The signature is missing, malformed, stale or wrong."""

    def __init__(self, flaw: SignatureFlaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


def sign_body(secret: str, body: bytes, timestamp_seconds: int) -> str:
    """Return the header's value for a body."""
    return f"t={timestamp_seconds},v1={_digest(secret, body, str(timestamp_seconds)).hex()}"


def verify_signature(headers: Sequence[str], secrets: Iterable[str], body: bytes, now_seconds: float) -> None:
    """Accept a body signed with one of the secrets within 300 seconds of now, comparing in constant time.

    `headers` are the values of `X-Signature`, exactly one; it may have five `v1` digests while the sender rotates its
    secret.

    Raises:
        InvalidSignature: otherwise; the message never says what would be right.

    """
    if not headers:
        raise InvalidSignature(SignatureFlaw.MISSING, "The X-Signature header is missing")
    match = _FORM.fullmatch(headers[0].strip(" \t")) if len(headers) == 1 else None
    if match is None:
        message = "The X-Signature header is not of the form t={unix seconds},v1={hex HMAC-SHA256}"
        raise InvalidSignature(SignatureFlaw.MALFORMED, message)
    if abs(now_seconds - int(match[1])) > TOLERANCE_SECONDS:
        raise InvalidSignature(
            SignatureFlaw.STALE, f"The signature's time is more than {TOLERANCE_SECONDS} seconds away"
        )
    given = [bytes.fromhex(digest) for digest in _DIGEST.findall(match[2])]
    expected = [_digest(secret, body, match[1]) for secret in secrets if secret]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]  # no early exit
    if not any(matches):
        raise InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body")


def _digest(secret: str, body: bytes, timestamp: str) -> bytes:
    return hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256")
