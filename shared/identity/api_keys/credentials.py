"""Credentials: the wallet behind an API key, and what the key may do with it."""

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
"""Everything that a key can be allowed, with what it is for."""

SCOPES_BY_ROLE: Final = {
    Role.OWNER: frozenset(SCOPES),
    Role.ADMIN: frozenset(SCOPES),
    Role.DEVELOPER: frozenset(SCOPES) - {"funding:write"},
    Role.VIEWER: frozenset(scope for scope in SCOPES if scope.endswith(":read")),
}
"""What a user of a role may let a key do: nobody grants what he lacks. A developer can't debit the company's bank."""

LAST_USED_PRECISION: Final = timedelta(minutes=1)
"""A key's last use is known to this."""


class Credential(NamedTuple):
    """What a request may do, from its key alone."""

    key_id: uuid.UUID
    wallet_id: uuid.UUID
    organization_id: uuid.UUID
    mode: str
    currency: str
    scopes: frozenset[str]
    expires_at: datetime | None
    rate_limit_per_minute: int | None


def add_approved_key(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    user_id: uuid.UUID,
    text: str,
    pepper: str,
    name: str,
    now: datetime,
) -> uuid.UUID | None:
    """Stores a key that is approved and may do everything, for the wallet of a new organization. Returns its id; None
    where the same key is there already: then nothing has changed.
    """
    added: uuid.UUID | None = connection.scalar(
        sa.text("""
            INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, key_pepper, scopes,
                                  approval_status, created_at)
            VALUES (:id, :wallet_id, :user_id, :name, :prefix, :key_hash, :key_pepper, :scopes, 'approved', :now)
            ON CONFLICT (key_hash) DO NOTHING RETURNING id
        """),
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


def find_credential(connection: sa.Connection, key_hash: bytes, now: datetime) -> Credential | None:
    """The credential behind a key's hash; None when it is unknown, expired or revoked. Notes the use, to the minute."""
    row = connection.execute(
        sa.text("""
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
        """),
        {"key_hash": key_hash, "now": now},
    ).one_or_none()
    if row is None:
        return None
    key_id, wallet_id, organization_id, mode, currency, scopes, expires_at, rate_limit, last_used_at = row
    if last_used_at is None or last_used_at < now - LAST_USED_PRECISION:
        connection.execute(
            sa.text("""
                UPDATE api_keys SET last_used_at = :now
                WHERE id = (SELECT id FROM api_keys WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED)
            """),
            {"id": key_id, "now": now},
        )
    return Credential(key_id, wallet_id, organization_id, mode, currency, frozenset(scopes), expires_at, rate_limit)


def authenticate_key(connection: sa.Connection, text: str, peppers: Sequence[str], now: datetime) -> Credential | None:
    """The credential behind a key, hashed under any of the peppers; under another than the first it is hashed anew, for
    that one will be taken away.
    """
    current = hash_token(text, peppers[0])
    credential = find_credential(connection, current, now)
    for other in peppers[1:]:
        if credential is None:
            credential = find_credential(connection, hash_token(text, other), now)
            if credential is not None:
                connection.execute(
                    sa.text("""
                        UPDATE api_keys SET key_hash = :current, key_pepper = :key_pepper
                        WHERE key_hash = :other AND NOT EXISTS (SELECT FROM api_keys WHERE key_hash = :current)
                    """),
                    {"current": current, "key_pepper": pepper_tag(peppers[0]), "other": hash_token(text, other)},
                )
    return credential
