"""The keyring: finds the credential behind a key, and remembers it for two seconds.

Junk is refused by form and checksum without a visit to the database; a revoked key is refused within two seconds.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from shared.identity import api_keys
from shared.identity.api_keys import Credential
from shared.platform.clock import Clock

CREDENTIAL_CACHE_SECONDS = 2.0
CACHED_CREDENTIALS_MAX = 10_000

CredentialReader = Callable[[Callable[[sa.Connection], Credential | None]], Awaitable[Credential | None]]


class CredentialCache:
    """Looks keys up."""

    def __init__(self, peppers: tuple[str, ...], clock: Clock) -> None:
        self._peppers = peppers
        self._clock = clock
        self._secret = secrets.token_bytes()
        self._known: dict[bytes, tuple[float, Credential | None]] = {}
        self._asked: dict[bytes, asyncio.Future[Credential | None]] = {}

    async def find(self, text: str, read: CredentialReader) -> Credential | None:
        """The credential behind a key; None for a key that is malformed, unknown, expired or revoked."""
        name = self._name(text)
        known = self._known.get(name)
        if known is not None and time.monotonic() <= known[0]:
            credential = known[1]
        elif api_keys.is_well_formed_key(text):
            credential = await self._ask(text, name, read)
        else:
            return None
        if credential is not None and credential.expires_at and credential.expires_at <= self._clock.now():
            return None
        return credential

    def forget(self) -> None:
        """Forgets everything, because a key has changed."""
        self._known.clear()

    def _name(self, text: str) -> bytes:
        """By which a key is remembered: a hash under a secret of this process, a third of the work of the one that is
        stored.
        """
        return hashlib.blake2s(text.encode(errors="surrogateescape"), key=self._secret).digest()

    async def _ask(self, text: str, name: bytes, read: CredentialReader) -> Credential | None:
        """Asks the database, once for all who ask at the same time."""
        under_way = self._asked.get(name)
        if under_way is not None:
            return await asyncio.shield(under_way)
        answer: asyncio.Future[Credential | None] = asyncio.get_running_loop().create_future()
        self._asked[name] = answer
        try:
            now = self._clock.now()
            credential = await read(lambda connection: api_keys.authenticate_key(connection, text, self._peppers, now))
        except BaseException as error:
            if isinstance(error, Exception):
                answer.set_exception(error)
                answer.exception()
            else:
                answer.cancel()
            raise
        finally:
            del self._asked[name]
        if len(self._known) >= CACHED_CREDENTIALS_MAX:
            self._known.clear()
        self._known[name] = (time.monotonic() + CREDENTIAL_CACHE_SECONDS, credential)
        answer.set_result(credential)
        return credential
