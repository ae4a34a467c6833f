"""Requests an API key, and approves or rejects a requested production key."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared.identity.api_keys.credentials import SCOPES_BY_ROLE
from shared.identity.api_keys.queries import load_key
from shared.identity.api_keys.rows import IssuedKey, KeyRow, NewKey
from shared.identity.api_keys.tokens import KEY_PREFIXES, generate_key, hash_token, pepper_tag
from shared.platform.errors import Conflict, Forbidden
from shared.platform.ids import new_id
from shared.schema.organizations import ApprovalStatus, Mode, Role

USER_KEYS_MAX: Final = 1_000
"""Keys of one user that are not revoked."""

# Waits for a sandbox reset, as it replaces the wallet under an exclusive lock of the organization's row.
_LOCK_ORGANIZATION: Final = sa.text("SELECT FROM organizations WHERE id = :organization_id FOR SHARE")
# Counts a user's keys that are not revoked.
_COUNT_USER_KEYS: Final = sa.text("SELECT count(*) FROM api_keys WHERE created_by = :user_id AND revoked_at IS NULL")
# Inserts a key of the organization's current wallet.
_INSERT_KEY: Final = sa.text("""
    INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, key_pepper, scopes,
                          approval_status, approval_reason, created_at, expires_at)
    SELECT :id, wallets.id, :user_id, :name, :prefix, :key_hash, :key_pepper, :scopes,
           :status, :reason, :now, :expires_at
    FROM wallets WHERE organization_id = :organization_id AND mode = :mode AND retired_at IS NULL
""")


def request_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
    new: NewKey,
    pepper: str,
    now: datetime,
) -> IssuedKey:
    """Store a key: a sandbox key is generated at once, a production key waits for approval.

    Raises:
        Forbidden: the user lacks one of the scopes.
        Conflict: the user has `USER_KEYS_MAX` keys.
    """
    check_scopes_grantable(connection, user_id, new.scopes)
    connection.execute(_LOCK_ORGANIZATION, {"organization_id": organization_id})
    count = connection.scalar(_COUNT_USER_KEYS, {"user_id": user_id})
    if count is not None and count >= USER_KEYS_MAX:
        raise Conflict(f"You have {USER_KEYS_MAX} keys that are not revoked. Revoke one first.", code="TOO_MANY_KEYS")
    sandbox = new.mode is Mode.SANDBOX
    text = generate_key(new.mode) if sandbox else None
    key_id = new_id()
    connection.execute(
        _INSERT_KEY,
        {
            "id": key_id,
            "organization_id": organization_id,
            "mode": new.mode.value,
            "user_id": user_id,
            "name": new.name,
            "prefix": KEY_PREFIXES[new.mode],
            "key_hash": None if text is None else hash_token(text, pepper),
            "key_pepper": None if text is None else pepper_tag(pepper),
            "scopes": list(new.scopes),
            "status": (ApprovalStatus.APPROVED if sandbox else ApprovalStatus.PENDING).value,
            "reason": new.approval_reason,
            "now": now,
            "expires_at": None if new.expires_in_days is None else now + timedelta(days=new.expires_in_days),
        },
    )
    return IssuedKey(load_key(connection, organization_id, key_id), text)


def check_scopes_grantable(connection: sa.Connection, user_id: uuid.UUID, scopes: Sequence[str]) -> None:
    """Raise `Forbidden` unless the user's current role may grant all of the scopes."""
    role = connection.scalar(sa.text("SELECT role FROM users WHERE id = :id"), {"id": user_id})
    lacking = sorted(set(scopes) - SCOPES_BY_ROLE[Role(role)])
    if lacking:
        raise Forbidden(f"The role {role} can't grant the scope {lacking[0]}", code="SCOPE_NOT_YOURS", scope=lacking[0])


# Counts the other users who could approve a key, if the approver requested it; else 0.
_COUNT_OTHER_APPROVERS: Final = sa.text("""
    SELECT count(*) FROM users JOIN api_keys ON api_keys.id = :id AND api_keys.created_by = :admin_id
    WHERE organization_id = :organization_id AND role IN ('owner', 'admin') AND users.id <> :admin_id
""")


def approve_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    admin_id: uuid.UUID,
    key_id: uuid.UUID | None,
    pepper: str,
    now: datetime,
) -> IssuedKey:
    """Generate a pending production key.

    Raises:
        Conflict: it is not pending.
        Forbidden: the admin requested it, and another owner or admin could approve it.
    """
    row = _load_pending_key(connection, organization_id, key_id)
    # A sole approver may approve their own request.
    others = connection.scalar(
        _COUNT_OTHER_APPROVERS, {"id": row.id, "admin_id": admin_id, "organization_id": organization_id}
    )
    if others:
        raise Forbidden("You requested this key. Another owner or admin must approve it.", code="OWN_REQUEST")
    text = generate_key(Mode(row.mode))
    update_key(
        connection,
        row.id,
        key_hash=hash_token(text, pepper),
        key_pepper=pepper_tag(pepper),
        approval_status=ApprovalStatus.APPROVED.value,
        decided_by=admin_id,
        decided_at=now,
    )
    return IssuedKey(load_key(connection, organization_id, key_id), text)


def reject_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    admin_id: uuid.UUID,
    key_id: uuid.UUID | None,
    reason: str,
    now: datetime,
) -> KeyRow:
    """Reject a pending production key.

    Raises:
        Conflict: it is not pending.
    """
    row = _load_pending_key(connection, organization_id, key_id)
    status = ApprovalStatus.REJECTED.value
    update_key(connection, row.id, approval_status=status, rejection_reason=reason, decided_by=admin_id, decided_at=now)
    return load_key(connection, organization_id, key_id)


def _load_pending_key(connection: sa.Connection, organization_id: uuid.UUID, key_id: uuid.UUID | None) -> KeyRow:
    row = load_key(connection, organization_id, key_id, lock=True)
    if row.approval_status != ApprovalStatus.PENDING or row.revoked_at is not None:
        status = "revoked" if row.revoked_at is not None else row.approval_status
        raise Conflict(f"This key is {status}, not pending", code="KEY_NOT_PENDING", status=status)
    return row


def update_key(connection: sa.Connection, key_id: uuid.UUID, **values: Any) -> None:
    """Set columns of a key whose row is locked."""
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(sa.text(f"UPDATE api_keys SET {assignments} WHERE id = :id"), values | {"id": key_id})
