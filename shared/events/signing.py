"""Signs customer webhooks twice: with `X-Signature` (see the API reference), and as Standard Webhooks.

A secret is `whsec_` and base64. `X-Signature` uses the whole text as the key, Standard Webhooks the decoded bytes.
While two secrets are valid both sign, the newer first.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from shared.platform.encryption import Pepper, cipher

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
SECRET_BYTES: Final = 32
SECRET_PURPOSE: Final = b"ovnpay webhook secret"


def generate_secret() -> str:
    """Generate a signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def seal_secret(secret: str, pepper: str) -> bytes:
    """Encrypt a secret for storage."""
    return cipher(pepper, SECRET_PURPOSE).encrypt(secret.encode())


def unseal_secret(sealed: bytes, pepper: Pepper) -> str:
    """Decrypt a stored secret; raises `cryptography.fernet.InvalidToken` under another pepper."""
    return cipher(pepper, SECRET_PURPOSE).decrypt(sealed).decode()


def signature_headers(keys: Sequence[str], event_id: str, body: bytes, at_seconds: int) -> dict[str, str]:
    """The headers that sign a body with each of the secrets at a Unix time."""
    plain = f"{at_seconds}.".encode() + body
    standard = f"{event_id}.{at_seconds}.".encode() + body
    hexadecimal = [hmac.digest(key.encode(), plain, hashlib.sha256).hex() for key in keys]
    encoded = [base64.b64encode(hmac.digest(_bytes(key), standard, hashlib.sha256)).decode() for key in keys]
    return {
        "X-Signature": ",".join([f"t={at_seconds}", *(f"v1={digest}" for digest in hexadecimal)]),
        "webhook-id": event_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": " ".join(f"v1,{digest}" for digest in encoded),
    }


def _bytes(key: str) -> bytes:
    return base64.b64decode(key.removeprefix(SECRET_PREFIX))
