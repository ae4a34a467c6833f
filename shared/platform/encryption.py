"""Encryption of values that have to be read again, such as bank details and webhook secrets, under the pepper."""

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

Pepper = str | tuple[str, ...]
"""The installation's pepper, or both of them during a rotation: the first encrypts, each decrypts."""


def cipher(pepper: Pepper, purpose: bytes) -> "MultiFernet":
    """Return a cipher whose key is derived from the installation's pepper; each `purpose` has its own key.

    Decryption raises `cryptography.fernet.InvalidToken` for a value of another pepper or purpose.
    """
    # Imported here: it costs 6.5 MB, and the scheduler never encrypts.
    from cryptography.fernet import Fernet, MultiFernet

    peppers = (pepper,) if isinstance(pepper, str) else pepper
    keys = [hmac.digest(one.encode(), purpose, hashlib.sha256) for one in peppers]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
