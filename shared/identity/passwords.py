"""Passwords: argon2id. Each check takes tens of milliseconds of a core by design, so never within a transaction."""

from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

_HASHER: Final = PasswordHasher()


def hash_password(password: str) -> str:
    """What is stored of a password."""
    return _HASHER.hash(password)


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody has this password")


def check_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is the right one; as slow where there is no such user, so that the time does not tell."""
    try:
        return _HASHER.verify(password_hash or _nobodys(), password) and password_hash is not None
    except VerificationError:
        return False
