"""From an API key to its wallet and scopes."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.identity.api_keys.tokens import hash_token, pepper_tag
from shared.platform.ids import new_id
from shared.schema.organizations import Role

SCOPES: Final = {
    "drivers:read": "List and show drivers, and their payouts",
    "drivers:write": "Register, change and delete drivers",
    "payouts:read": "List and show payouts, quote fees",
    "payouts:write": "Create, cancel and retry payouts",
    "batches:read": "List and show batches and scheduled payouts",
    "batches:write": "Create and release batches",
    "balance:read": "Show the balance, its transactions and their projection",
    "webhooks:manage": "Show the webhook logs, manage webhooks",
    "funding:write": "Top the wallet up",
    "analytics:read": "Read analytics",
}
"""Every scope, with its description in the API."""

SCOPES_BY_ROLE: Final = {
    Role.OWNER: frozenset(SCOPES),
    Role.ADMIN: frozenset(SCOPES),
    Role.DEVELOPER: frozenset(SCOPES) - {"funding:write"},
    Role.VIEWER: frozenset(scope for scope in SCOPES if scope.endswith(":read")),
}
"""The scopes that a user may grant to a key. A developer can't debit the company's bank account."""

LAST_USED_PRECISION: Final = timedelta(minutes=1)
"""`last_used_at` is written at most this often."""


class Credential(NamedTuple):
    """What a request may do, according to its key."""

    key_id: uuid.UUID
    wallet_id: uuid.UUID
    organization_id: uuid.UUID
    mode: str
    currency: str
    scopes: frozenset[str]
    expires_at: datetime | None
    rate_limit_per_minute: int | None


# Inserts an approved key unless the same key is stored already.
_INSERT_APPROVED: Final = sa.text("""
    INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, key_pepper, scopes,
                          approval_status, created_at)
    VALUES (:id, :wallet_id, :user_id, :name, :prefix, :key_hash, :key_pepper, :scopes, 'approved', :now)
    ON CONFLICT (key_hash) DO NOTHING RETURNING id
""")


def add_approved_key(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    user_id: uuid.UUID,
    text: str,
    pepper: str,
    name: str,
    now: datetime,
) -> uuid.UUID | None:
    """Store an approved key with all scopes; returns its id, or None if it is stored already."""
    added: uuid.UUID | None = connection.scalar(
        _INSERT_APPROVED,
        {
            "id": new_id(),
            "wallet_id": wallet_id,
            "user_id": user_id,
            "name": name,
            "prefix": text[:10],
            "key_hash": hash_token(text, pepper),
            "key_pepper": pepper_tag(pepper),
            "scopes": list(SCOPES),
            "now": now,
        },
    )
    return added


# Reads a valid key by its hash, or by the hash that it replaced while both are valid.
_FIND: Final = sa.text("""
    SELECT api_keys.id, wallets.id, wallets.organization_id, wallets.mode, wallets.currency,
           api_keys.scopes, least(api_keys.expires_at, replaced.valid_until), rate_limit_per_minute,
           api_keys.last_used_at
    FROM (
        SELECT id, CAST(NULL AS timestamptz) AS valid_until FROM api_keys WHERE key_hash = :key_hash
        UNION ALL
        SELECT id, previous_valid_until FROM api_keys
        WHERE previous_key_hash = :key_hash AND previous_valid_until > :now
    ) AS replaced
    JOIN api_keys ON api_keys.id = replaced.id JOIN wallets ON wallets.id = api_keys.wallet_id
    WHERE revoked_at IS NULL AND approval_status = 'approved' AND (expires_at IS NULL OR expires_at > :now)
""")
# Updates the last use; skips a locked row instead of waiting for it.
_SET_LAST_USED: Final = sa.text("""
    UPDATE api_keys SET last_used_at = :now
    WHERE id = (SELECT id FROM api_keys WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED)
""")


def find_credential(connection: sa.Connection, key_hash: bytes, now: datetime) -> Credential | None:
    """The credential of a key's hash; None if unknown, expired or revoked. Updates `last_used_at`."""
    row = connection.execute(_FIND, {"key_hash": key_hash, "now": now}).one_or_none()
    if row is None:
        return None
    key_id, wallet_id, organization_id, mode, currency, scopes, expires_at, rate_limit, last_used_at = row
    if last_used_at is None or last_used_at < now - LAST_USED_PRECISION:
        connection.execute(_SET_LAST_USED, {"id": key_id, "now": now})
    return Credential(key_id, wallet_id, organization_id, mode, currency, frozenset(scopes), expires_at, rate_limit)


# Replaces a key's hash under a previous pepper with the one under the current pepper; locks the key's row.
_REHASH: Final = sa.text("""
    UPDATE api_keys SET key_hash = :current, key_pepper = :key_pepper
    WHERE key_hash = :other AND NOT EXISTS (SELECT FROM api_keys WHERE key_hash = :current)
""")


def authenticate_key(connection: sa.Connection, text: str, peppers: Sequence[str], now: datetime) -> Credential | None:
    """The credential of a key under any accepted pepper; rehashes the key under the first one."""
    current = hash_token(text, peppers[0])
    credential = find_credential(connection, current, now)
    for pepper in peppers[1:]:
        if credential is None:
            other = hash_token(text, pepper)
            credential = find_credential(connection, other, now)
            if credential is not None:
                connection.execute(_REHASH, {"current": current, "key_pepper": pepper_tag(peppers[0]), "other": other})
    return credential
