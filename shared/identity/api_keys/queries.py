"""Reads API keys."""

import uuid
from typing import Any, Final

import sqlalchemy as sa

from shared.identity.api_keys.rows import KeyRow
from shared.platform.errors import NotFound
from shared.platform.pagination import Page, PageRequest, select_page_ids
from shared.schema.organizations import ApprovalStatus, Mode

USER_KEYS_LISTED_MAX: Final = 2_000

_SELECT: Final = """
    SELECT api_keys.id, api_keys.name, wallets.mode, prefix, scopes, creator.email, decider.email, approval_status,
           approval_reason, rejection_reason, decided_at, api_keys.created_at, expires_at, last_used_at, revoked_at
    FROM api_keys
    JOIN wallets ON wallets.id = api_keys.wallet_id
    JOIN users AS creator ON creator.id = api_keys.created_by
    LEFT JOIN users AS decider ON decider.id = api_keys.decided_by
"""
"""Selects the columns of a `KeyRow`, in its order."""

# Reads the keys that a user requested.
_LOAD_USER_KEYS: Final = sa.text(f"{_SELECT} WHERE created_by = :user_id ORDER BY api_keys.id DESC LIMIT :limit")


def load_user_keys(connection: sa.Connection, user_id: uuid.UUID) -> list[KeyRow]:
    """The keys that a user requested, newest first."""
    rows = connection.execute(_LOAD_USER_KEYS, {"user_id": user_id, "limit": USER_KEYS_LISTED_MAX})
    return [KeyRow._make(row) for row in rows]


def load_key(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    key_id: uuid.UUID | None,
    *,
    user_id: uuid.UUID | None = None,
    lock: bool = False,
) -> KeyRow:
    """One key of the organization; with `user_id`, only if that user requested it. `lock` locks its row.

    Raises:
        NotFound: there is no such key.
    """
    by_user = " AND created_by = :user_id" if user_id is not None else ""
    row = connection.execute(
        sa.text(
            f"{_SELECT} WHERE api_keys.id = :id AND wallets.organization_id = :organization_id{by_user}"
            + (" FOR UPDATE OF api_keys" if lock else "")
        ),
        {"id": key_id, "organization_id": organization_id, "user_id": user_id},
    ).one_or_none()
    if row is None:
        raise _key_not_found()
    return KeyRow._make(row)


# Reads an organization's pending keys, at most 1,000.
_LOAD_PENDING_KEYS: Final = sa.text(f"""
    {_SELECT} WHERE wallets.organization_id = :organization_id AND approval_status = 'pending'
                    AND revoked_at IS NULL ORDER BY api_keys.id LIMIT 1000
""")


def load_pending_keys(connection: sa.Connection, organization_id: uuid.UUID) -> list[KeyRow]:
    """The organization's keys that wait for approval, oldest first."""
    rows = connection.execute(_LOAD_PENDING_KEYS, {"organization_id": organization_id})
    return [KeyRow._make(row) for row in rows]


def load_organization_keys(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    wanted: PageRequest,
    *,
    mode: Mode | None = None,
    status: ApprovalStatus | None = None,
) -> Page[KeyRow]:
    """A page of the organization's keys, newest first."""
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


# Reads all keys that are not revoked, of one organization or of all.
_LOAD_UNREVOKED: Final = sa.text(f"""
    SELECT organizations.name, rate_limit_per_minute, found.*
    FROM ({_SELECT} WHERE revoked_at IS NULL) AS found ({", ".join(KeyRow._fields)})
    JOIN api_keys USING (id) JOIN wallets ON wallets.id = api_keys.wallet_id
    JOIN organizations ON organizations.id = wallets.organization_id
    WHERE organizations.id = coalesce(CAST(:organization_id AS uuid), organizations.id)
    ORDER BY organizations.name, found.id
""")


def load_unrevoked_keys(
    connection: sa.Connection, organization_id: uuid.UUID | None
) -> list[tuple[str, KeyRow, int | None]]:
    """Organization name, key and own rate limit of every key not revoked, of one organization or of all."""
    rows = connection.execute(_LOAD_UNREVOKED, {"organization_id": organization_id})
    return [(row[0], KeyRow._make(row[2:]), row[1]) for row in rows]


# Reads the organization of a key.
_KEY_ORGANIZATION: Final = sa.text(
    "SELECT organization_id FROM api_keys JOIN wallets ON wallets.id = wallet_id WHERE api_keys.id = :id"
)


def key_organization_id(connection: sa.Connection, key_id: uuid.UUID | None) -> uuid.UUID:
    """The key's organization.

    Raises:
        NotFound: there is no such key.
    """
    found: uuid.UUID | None = connection.scalar(_KEY_ORGANIZATION, {"id": key_id})
    if found is None:
        raise _key_not_found()
    return found


def _key_not_found() -> NotFound:
    return NotFound("No such API key", code="KEY_NOT_FOUND")
