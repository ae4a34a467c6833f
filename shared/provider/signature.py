"""Signatures: `X-Signature: t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`, both ways."""

import enum
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final

TOLERANCE_SECONDS: Final = 300
_FORM: Final = re.compile(r"t=([0-9]{1,12})((?:[ \t]*,[ \t]*v1=[0-9A-Fa-f]{64}){1,5})")
_DIGEST: Final = re.compile(r"v1=([0-9A-Fa-f]{64})")


class SignatureFlaw(enum.StrEnum):
    """What is wrong with a signature, for the figures."""

    MISSING = "missing"
    MALFORMED = "malformed"
    STALE = "stale"
    """Its time is too far away: a replay, or a clock that is wrong."""
    WRONG = "wrong"
    """Not made of this body and time with a secret of ours."""


class InvalidSignature(Exception):
    """The signature is missing, malformed, too old, or not made with our secret."""

    def __init__(self, flaw: SignatureFlaw, sentence: str) -> None:
        super().__init__(sentence)
        self.flaw = flaw


def sign_body(secret: str, body: bytes, timestamp_seconds: int) -> str:
    """The header's value for a body."""
    return f"t={timestamp_seconds},v1={_digest(secret, body, str(timestamp_seconds)).hex()}"


def verify_signature(headers: Sequence[str], secrets: Iterable[str], body: bytes, now_seconds: float) -> None:
    """Accepts a body signed with one of the secrets within 300 seconds of now; compares in constant time.

    `headers` are the values of `X-Signature`, of which there may be one. While the sender's secret is being changed it
    may carry up to five `v1`, of which one has to be right.

    Raises:
        BadSignature: otherwise; the sentence says what is wrong, never what would be right.

    """
    if not headers:
        raise InvalidSignature(SignatureFlaw.MISSING, "The X-Signature header is missing")
    match = _FORM.fullmatch(headers[0].strip(" \t")) if len(headers) == 1 else None
    if match is None:
        sentence = "The X-Signature header is not of the form t={unix seconds},v1={hex HMAC-SHA256}"
        raise InvalidSignature(SignatureFlaw.MALFORMED, sentence)
    if abs(now_seconds - int(match[1])) > TOLERANCE_SECONDS:
        raise InvalidSignature(
            SignatureFlaw.STALE, f"The signature's time is more than {TOLERANCE_SECONDS} seconds away"
        )
    given = [bytes.fromhex(digest) for digest in _DIGEST.findall(match[2])]
    right = [_digest(secret, body, match[1]) for secret in secrets if secret]
    checks = [hmac.compare_digest(one, other) for one in right for other in given]  # all of them, whichever is right
    if not any(checks):
        raise InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body")


def _digest(secret: str, body: bytes, timestamp: str) -> bytes:
    return hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256")
