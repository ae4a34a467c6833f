"""The life of an API key: asked for, approved or rejected (production keys), regenerated, revoked.

The key itself leaves here once, when it is made; what is stored can't bring it back.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.identity import audit
from shared.identity.api_keys.credentials import SCOPES_BY_ROLE
from shared.identity.api_keys.tokens import KEY_PREFIXES, generate_key, hash_token, pepper_tag
from shared.platform.clock import format_rfc3339
from shared.platform.errors import Conflict, Forbidden, NotFound
from shared.platform.ids import KEY, new_id, public_id
from shared.platform.pagination import Page, PageRequest, select_page_ids
from shared.schema.audit import Action
from shared.schema.organizations import ApprovalStatus, Mode, Role

USER_KEYS_MAX = 1_000
"""Keys of one user that are not revoked."""
USER_KEYS_LISTED_MAX = 2_000

NEW_KEY_NOTE = "Save this key now. It will not be shown again."
PENDING_KEY_NOTE = "A production key has to be approved by an owner or admin; the key is shown once, at approval."


class KeyRow(NamedTuple):
    """A key as its owner and admins see it; see `shared.schema.tables.organizations.ApiKey`."""

    id: uuid.UUID
    name: str
    mode: str
    prefix: str
    scopes: list[str]
    created_by: str
    """The user's email, as is the next one's."""
    decided_by: str | None
    approval_status: str
    approval_reason: str | None
    rejection_reason: str | None
    decided_at: datetime | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def is_usable(self, now: datetime) -> bool:
        """Whether requests with it are answered."""
        return (
            self.approval_status == ApprovalStatus.APPROVED
            and self.revoked_at is None
            and (self.expires_at is None or self.expires_at > now)
        )


class NewKey(NamedTuple):
    """A key that a user asks for."""

    name: str
    mode: Mode
    scopes: Sequence[str]
    expires_in_days: int | None
    approval_reason: str | None


class IssuedKey(NamedTuple):
    """A key, and the text of it where it has just been made."""

    row: KeyRow
    text: str | None


_SELECT = """
    SELECT api_keys.id, api_keys.name, wallets.mode, prefix, scopes, creator.email, decider.email, approval_status,
           approval_reason, rejection_reason, decided_at, api_keys.created_at, expires_at, last_used_at, revoked_at
    FROM api_keys
    JOIN wallets ON wallets.id = api_keys.wallet_id
    JOIN users AS creator ON creator.id = api_keys.created_by
    LEFT JOIN users AS decider ON decider.id = api_keys.decided_by
"""


def key_payload(row: KeyRow, now: datetime) -> dict[str, Any]:
    """The key in the API's shape (reference: API Keys), in snake_case."""

    def time(moment: datetime | None) -> str | None:
        return None if moment is None else format_rfc3339(moment)

    approved = row.approval_status == ApprovalStatus.APPROVED
    return {
        "id": public_id(KEY, row.id),
        "name": row.name,
        "mode": row.mode,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_by": row.created_by,
        "approval_status": row.approval_status,
        "approval_reason": row.approval_reason,
        "approved_by": row.decided_by if approved else None,
        "approved_at": time(row.decided_at) if approved else None,
        "rejected_at": None if approved else time(row.decided_at),
        "rejection_reason": row.rejection_reason,
        "created_at": format_rfc3339(row.created_at),
        "expires_at": time(row.expires_at),
        "last_used_at": time(row.last_used_at),
        "revoked_at": time(row.revoked_at),
        "is_usable": row.is_usable(now),
    }


def load_user_keys(connection: sa.Connection, user_id: uuid.UUID) -> list[KeyRow]:
    """The keys that a user has asked for, newest first."""
    rows = connection.execute(
        sa.text(f"{_SELECT} WHERE created_by = :user_id ORDER BY api_keys.id DESC LIMIT :most"),
        {"user_id": user_id, "most": USER_KEYS_LISTED_MAX},
    )
    return [KeyRow._make(row) for row in rows]


def load_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    key_id: uuid.UUID | None,
    *,
    user_id: uuid.UUID | None = None,
    lock: bool = False,
) -> KeyRow:
    """One key of the organization; with a user, one that he has asked for.

    Raises:
        NotFound: there is none by that id.

    """
    mine = " AND created_by = :user_id" if user_id is not None else ""
    row = connection.execute(
        sa.text(
            f"{_SELECT} WHERE api_keys.id = :id AND wallets.organization_id = :organization_id{mine}"
            + (" FOR UPDATE OF api_keys" if lock else "")
        ),
        {"id": key_id, "organization_id": organization_id, "user_id": user_id},
    ).one_or_none()
    if row is None:
        raise NotFound("No such API key", code="KEY_NOT_FOUND")
    return KeyRow._make(row)


def load_pending_keys(connection: sa.Connection, organization_id: uuid.UUID) -> list[KeyRow]:
    """The organization's keys that wait for an admin, oldest first."""
    rows = connection.execute(
        sa.text(f"""
            {_SELECT} WHERE wallets.organization_id = :organization_id AND approval_status = 'pending'
                            AND revoked_at IS NULL ORDER BY api_keys.id LIMIT 1000
        """),
        {"organization_id": organization_id},
    )
    return [KeyRow._make(row) for row in rows]


def load_organization_keys(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    wanted: PageRequest,
    *,
    mode: Mode | None = None,
    status: ApprovalStatus | None = None,
) -> Page[KeyRow]:
    """A part of the organization's keys, newest first."""
    where = "wallet_id IN (SELECT wallets.id FROM wallets WHERE organization_id = :organization_id"
    where += " AND mode = :mode)" if mode is not None else ")"
    where += " AND approval_status = :status" if status is not None else ""
    values: dict[str, Any] = {"organization_id": organization_id, "mode": mode, "status": status}
    ids, more = select_page_ids(connection, "api_keys", where, values, wanted)
    rows = connection.execute(
        sa.text(f"{_SELECT} WHERE api_keys.id = ANY(:ids) ORDER BY api_keys.id DESC"), {"ids": ids}
    )
    total = connection.scalar(sa.text(f"SELECT count(*) FROM api_keys WHERE {where}"), values) or 0
    return Page([KeyRow._make(row) for row in rows], total, more)


def request_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
    new: NewKey,
    pepper: str,
    now: datetime,
) -> IssuedKey:
    """Writes a key down: a sandbox key is made at once, a production key waits for an admin.

    Raises:
        Forbidden: the user lacks one of the scopes himself.
        Conflict: the user has as many as he may.

    """
    _check_grantable(connection, user_id, new.scopes)
    # A sandbox reset under way puts another wallet in place: wait for it.
    connection.execute(
        sa.text("SELECT FROM organizations WHERE id = :organization_id FOR SHARE"),
        {"organization_id": organization_id},
    )
    is_usable = connection.scalar(
        sa.text("SELECT count(*) FROM api_keys WHERE created_by = :user_id AND revoked_at IS NULL"),
        {"user_id": user_id},
    )
    if is_usable is not None and is_usable >= USER_KEYS_MAX:
        raise Conflict(f"You have {USER_KEYS_MAX} keys that are not revoked; revoke one first", code="TOO_MANY_KEYS")
    sandbox = new.mode is Mode.SANDBOX
    text = generate_key(new.mode) if sandbox else None
    key_id = new_id()
    connection.execute(
        sa.text("""
            INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, key_pepper, scopes,
                                  approval_status, approval_reason, created_at, expires_at)
            SELECT :id, wallets.id, :user_id, :name, :prefix, :key_hash, :key_pepper, :scopes,
                   :status, :reason, :now, :expires_at
            FROM wallets WHERE organization_id = :organization_id AND mode = :mode AND retired_at IS NULL
        """),
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
    """Gives a user's key another text. The old one works for `grace` longer, then it is refused as soon as the gateways
    have forgotten it.

    Raises:
        NotFound: the user has no such key.
        Forbidden: the user lacks one of its scopes by now.
        Conflict: it is not approved, or revoked.

    """
    row = load_key(connection, organization_id, key_id, user_id=user_id, lock=True)
    _check_grantable(connection, user_id, row.scopes)
    if row.revoked_at is not None:
        raise Conflict("This key was revoked; create another", code="KEY_REVOKED")
    if row.approval_status != ApprovalStatus.APPROVED:
        raise Conflict(f"This key is {row.approval_status}", code="KEY_NOT_APPROVED", status=row.approval_status)
    text = generate_key(Mode(row.mode))
    connection.execute(
        sa.text("""
            UPDATE api_keys SET key_hash = :key_hash, key_pepper = :key_pepper, last_used_at = NULL,
                previous_key_hash = CASE WHEN :until > :now THEN key_hash END,
                previous_valid_until = CASE WHEN :until > :now THEN CAST(:until AS timestamptz) END
            WHERE id = :id
        """),
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
    """Withdraws a key for good; with a user, one of his own.

    Raises:
        NotFound: there is no such key.
        Conflict: it is revoked already.

    """
    row = load_key(connection, organization_id, key_id, user_id=user_id, lock=True)
    if row.revoked_at is not None:
        raise Conflict("This key was revoked already", code="KEY_REVOKED")
    _change(connection, row.id, revoked_at=now)
    return row._replace(revoked_at=now)


def approve_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    admin_id: uuid.UUID,
    key_id: uuid.UUID | None,
    pepper: str,
    now: datetime,
) -> IssuedKey:
    """Makes a pending production key. Nobody approves what they asked for themselves, while there is another who can.

    Raises:
        NotFound: there is no such key.
        Conflict: it is not pending.
        Forbidden: the admin asked for it, and another owner or admin could approve it.

    """
    row = _pending(connection, organization_id, key_id)
    others = connection.scalar(
        sa.text("""
            SELECT count(*) FROM users JOIN api_keys ON api_keys.id = :id AND api_keys.created_by = :admin_id
            WHERE organization_id = :organization_id AND role IN ('owner', 'admin') AND users.id <> :admin_id
        """),
        {"id": row.id, "admin_id": admin_id, "organization_id": organization_id},
    )
    if others:
        raise Forbidden("You asked for this key; another owner or admin has to approve it", code="OWN_REQUEST")
    text = generate_key(Mode(row.mode))
    status = ApprovalStatus.APPROVED.value
    _change(
        connection,
        row.id,
        key_hash=hash_token(text, pepper),
        key_pepper=pepper_tag(pepper),
        approval_status=status,
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
    """Turns a pending production key down; raises as `approve_key` does."""
    row = _pending(connection, organization_id, key_id)
    status = ApprovalStatus.REJECTED.value
    _change(connection, row.id, approval_status=status, rejection_reason=reason, decided_by=admin_id, decided_at=now)
    return load_key(connection, organization_id, key_id)


def load_unrevoked_keys(
    connection: sa.Connection, organization_id: uuid.UUID | None
) -> list[tuple[str, KeyRow, int | None]]:
    """Every key that is not revoked, of one organization or of all: its organization's name, the key, and its own limit
    of requests a minute.
    """
    rows = connection.execute(
        sa.text(f"""
            SELECT organizations.name, rate_limit_per_minute, found.*
            FROM ({_SELECT} WHERE revoked_at IS NULL) AS found (
                id, name, mode, prefix, scopes, created_by, decided_by, approval_status, approval_reason,
                rejection_reason, decided_at, created_at, expires_at, last_used_at, revoked_at)
            JOIN api_keys USING (id) JOIN wallets ON wallets.id = api_keys.wallet_id
            JOIN organizations ON organizations.id = wallets.organization_id
            WHERE organizations.id = coalesce(CAST(:organization_id AS uuid), organizations.id)
            ORDER BY organizations.name, found.id
        """),
        {"organization_id": organization_id},
    )
    return [(row[0], KeyRow._make(row[2:]), row[1]) for row in rows]


def key_organization_id(connection: sa.Connection, key_id: uuid.UUID | None) -> uuid.UUID:
    """Whose key it is; for commands on the installation, which see them all.

    Raises:
        NotFound: there is none by that id.

    """
    found: uuid.UUID | None = connection.scalar(
        sa.text("SELECT organization_id FROM api_keys JOIN wallets ON wallets.id = wallet_id WHERE api_keys.id = :id"),
        {"id": key_id},
    )
    if found is None:
        raise NotFound("No such API key", code="KEY_NOT_FOUND")
    return found


def set_key_rate_limit(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    key_id: uuid.UUID | None,
    per_minute: int | None,
    now: datetime,
) -> None:
    """Gives a key a limit of its own, or the installation's again; gateways know within seconds.

    Raises:
        NotFound: there is no such key.

    """
    row = load_key(connection, organization_id, key_id, lock=True)
    before = connection.scalar(sa.text("SELECT rate_limit_per_minute FROM api_keys WHERE id = :id"), {"id": row.id})
    _change(connection, row.id, rate_limit_per_minute=per_minute)
    was, is_ = {"rate_limit_per_minute": before}, {"rate_limit_per_minute": per_minute}
    entry = audit.Entry(audit.operator_actor(organization_id), Action.KEY_LIMIT, public_id(KEY, row.id), was, is_)
    audit.record_entries(connection, [entry], now)


def _check_grantable(connection: sa.Connection, user_id: uuid.UUID, scopes: Sequence[str]) -> None:
    role = connection.scalar(sa.text("SELECT role FROM users WHERE id = :id"), {"id": user_id})
    lacking = sorted(set(scopes) - SCOPES_BY_ROLE[Role(role)])
    if lacking:
        raise Forbidden(f"As {role} you can't grant the scope {lacking[0]}", code="SCOPE_NOT_YOURS", scope=lacking[0])


def _pending(connection: sa.Connection, organization_id: uuid.UUID, key_id: uuid.UUID | None) -> KeyRow:
    row = load_key(connection, organization_id, key_id, lock=True)
    if row.approval_status != ApprovalStatus.PENDING or row.revoked_at is not None:
        status = "revoked" if row.revoked_at is not None else row.approval_status
        raise Conflict(f"This key is {status}, not pending", code="KEY_NOT_PENDING", status=status)
    return row


def _change(connection: sa.Connection, key_id: uuid.UUID, **values: Any) -> None:
    assigned = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(sa.text(f"UPDATE api_keys SET {assigned} WHERE id = :id"), values | {"id": key_id})
