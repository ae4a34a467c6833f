"""Sealing: what has to be read again, but not by whoever reads the database, is encrypted under the pepper."""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet


def cipher(pepper: str, purpose: bytes) -> Fernet:
    """Seals and unseals. Its key is derived from the installation's pepper, another for each purpose.

    Unsealing raises `cryptography.fernet.InvalidToken` for what was sealed under another pepper or for another purpose.
    """
    key = hmac.digest(pepper.encode(), purpose, hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))
