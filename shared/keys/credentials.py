"""Credentials: the wallet behind an API key, and what the key may do with it."""

import uuid
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.ids import new_id
from shared.keys.tokens import hashed

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

USE_NOTED_EVERY: Final = timedelta(minutes=1)
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


def add(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    user_id: uuid.UUID,
    text: str,
    pepper: str,
    name: str,
    now: datetime,
) -> uuid.UUID | None:
    """Stores a key that is approved and may do everything, for the wallet of a new organization. Returns its id; None
    where the same key is there already: then nothing has changed."""
    added: uuid.UUID | None = connection.scalar(
        sa.text("""
            INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, scopes, approval_status,
                                  created_at)
            VALUES (:id, :wallet_id, :user_id, :name, :prefix, :key_hash, :scopes, 'approved', :now)
            ON CONFLICT (key_hash) DO NOTHING RETURNING id
        """),
        {
            "id": new_id(),
            "wallet_id": wallet_id,
            "user_id": user_id,
            "name": name,
            "prefix": text[:10],
            "key_hash": hashed(text, pepper),
            "scopes": list(SCOPES),
            "now": now,
        },
    )
    return added


def find(connection: sa.Connection, key_hash: bytes, now: datetime) -> Credential | None:
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
    if last_used_at is None or last_used_at < now - USE_NOTED_EVERY:
        connection.execute(
            sa.text("""
                UPDATE api_keys SET last_used_at = :now
                WHERE id = (SELECT id FROM api_keys WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED)
            """),
            {"id": key_id, "now": now},
        )
    return Credential(key_id, wallet_id, organization_id, mode, currency, frozenset(scopes), expires_at, rate_limit)
