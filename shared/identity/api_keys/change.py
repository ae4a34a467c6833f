"""Regenerates or revokes an API key, or sets its rate limit."""

import uuid
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared.identity import audit
from shared.identity.api_keys.queries import load_key
from shared.identity.api_keys.request import check_scopes_grantable, update_key
from shared.identity.api_keys.rows import IssuedKey, KeyRow
from shared.identity.api_keys.tokens import generate_key, hash_token, pepper_tag
from shared.platform.errors import Conflict
from shared.platform.ids import KEY, public_id
from shared.schema.audit import Action
from shared.schema.organizations import ApprovalStatus, Mode

# Replaces a key's hash, and keeps the old one until a time in the future, if one is given.
_REPLACE_HASH: Final = sa.text("""
    UPDATE api_keys SET key_hash = :key_hash, key_pepper = :key_pepper, last_used_at = NULL,
        previous_key_hash = CASE WHEN :until > :now THEN key_hash END,
        previous_valid_until = CASE WHEN :until > :now THEN CAST(:until AS timestamptz) END
    WHERE id = :id
""")


def regenerate_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
    key_id: uuid.UUID | None,
    pepper: str,
    now: datetime,
    *,
    grace: timedelta = timedelta(0),
) -> IssuedKey:
    """Replace the text of a user's key; the old text stays valid for `grace`.

    Raises:
        Forbidden: the user no longer has one of its scopes.
        Conflict: it is not approved, or it is revoked.
    """
    row = load_key(connection, organization_id, key_id, user_id=user_id, lock=True)
    check_scopes_grantable(connection, user_id, row.scopes)
    if row.revoked_at is not None:
        raise Conflict("This key is revoked. Create a new one.", code="KEY_REVOKED")
    if row.approval_status != ApprovalStatus.APPROVED:
        raise Conflict(f"This key is {row.approval_status}", code="KEY_NOT_APPROVED", status=row.approval_status)
    text = generate_key(Mode(row.mode))
    connection.execute(
        _REPLACE_HASH,
        {
            "id": row.id,
            "key_hash": hash_token(text, pepper),
            "key_pepper": pepper_tag(pepper),
            "now": now,
            "until": now + grace,
        },
    )
    return IssuedKey(load_key(connection, organization_id, key_id), text)


def revoke_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    key_id: uuid.UUID | None,
    now: datetime,
    *,
    user_id: uuid.UUID | None = None,
) -> KeyRow:
    """Revoke a key permanently; with `user_id`, only if that user requested it.

    Raises:
        Conflict: it is already revoked.
    """
    row = load_key(connection, organization_id, key_id, user_id=user_id, lock=True)
    if row.revoked_at is not None:
        raise Conflict("This key is already revoked", code="KEY_REVOKED")
    update_key(connection, row.id, revoked_at=now)
    return row._replace(revoked_at=now)


def set_key_rate_limit(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    key_id: uuid.UUID | None,
    per_minute: int | None,
    now: datetime,
) -> None:
    """Set a key's own rate limit; None restores the installation's. Gateways apply it within seconds."""
    row = load_key(connection, organization_id, key_id, lock=True)
    before = connection.scalar(sa.text("SELECT rate_limit_per_minute FROM api_keys WHERE id = :id"), {"id": row.id})
    update_key(connection, row.id, rate_limit_per_minute=per_minute)
    entry = audit.Entry(
        audit.operator_actor(organization_id),
        Action.KEY_LIMIT,
        public_id(KEY, row.id),
        {"rate_limit_per_minute": before},
        {"rate_limit_per_minute": per_minute},
    )
    audit.record_entries(connection, [entry], now)
