"""Sealing: what has to be read again, but not by whoever reads the database, is encrypted under the pepper."""

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

Pepper = str | tuple[str, ...]
"""The installation's, or while it is rotated both: the first seals, each unseals."""


def cipher(pepper: Pepper, purpose: bytes) -> "MultiFernet":
    """Seals and unseals. Its key is derived from the installation's pepper, another for each purpose.

    Unsealing raises `cryptography.fernet.InvalidToken` for what was sealed under another pepper or for another purpose.
    """
    from cryptography.fernet import Fernet, MultiFernet  # 6.5 MB, which who seals nothing does without: the scheduler

    peppers = (pepper,) if isinstance(pepper, str) else pepper
    keys = [hmac.digest(one.encode(), purpose, hashlib.sha256) for one in peppers]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
