"""A cache of credentials by API key, for two seconds: a revoked key is rejected within that time.

Malformed keys are rejected by their checksum, without a query.
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
    def __init__(self, peppers: tuple[str, ...], clock: Clock) -> None:
        self._peppers = peppers
        self._clock = clock
        self._secret = secrets.token_bytes()
        self._cached: dict[bytes, tuple[float, Credential | None]] = {}
        self._pending: dict[bytes, asyncio.Future[Credential | None]] = {}

    async def find(self, text: str, read: CredentialReader) -> Credential | None:
        """Find a key's credential; None if the key is malformed, unknown, expired or revoked."""
        cache_key = self._cache_key(text)
        cached = self._cached.get(cache_key)
        if cached is not None and time.monotonic() <= cached[0]:
            credential = cached[1]
        elif api_keys.is_well_formed_key(text):
            credential = await self._query(text, cache_key, read)
        else:
            return None
        if credential is not None and credential.expires_at and credential.expires_at <= self._clock.now():
            return None
        return credential

    def clear(self) -> None:
        self._cached.clear()

    def _cache_key(self, text: str) -> bytes:
        """A key's hash with a secret of this process; a third of the work of the stored hash."""
        return hashlib.blake2s(text.encode(errors="surrogateescape"), key=self._secret).digest()

    async def _query(self, text: str, cache_key: bytes, read: CredentialReader) -> Credential | None:
        """Query the database, once for concurrent requests with the same key."""
        pending = self._pending.get(cache_key)
        if pending is not None:
            return await asyncio.shield(pending)
        future: asyncio.Future[Credential | None] = asyncio.get_running_loop().create_future()
        self._pending[cache_key] = future
        try:
            now = self._clock.now()
            credential = await read(lambda connection: api_keys.authenticate_key(connection, text, self._peppers, now))
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()
            else:
                future.cancel()
            raise
        finally:
            del self._pending[cache_key]
        if len(self._cached) >= CACHED_CREDENTIALS_MAX:
            self._cached.clear()
        self._cached[cache_key] = (time.monotonic() + CREDENTIAL_CACHE_SECONDS, credential)
        future.set_result(credential)
        return credential
