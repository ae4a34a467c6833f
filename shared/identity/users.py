"""Users: who signs in for an organization, made and mended by whoever runs the installation."""

import uuid
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from shared.identity import audit
from shared.identity.passwords import hash_password
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import USER, new_id, public_id
from shared.schema.audit import Action
from shared.schema.organizations import Role


class UserRow(NamedTuple):
    """A user; see `shared.schema.tables.organizations.User`."""

    email: str
    role: str
    organization: str
    created_at: datetime


def add_user(
    connection: sa.Connection, organization_id: uuid.UUID, email: str, password: str, role: Role, now: datetime
) -> uuid.UUID:
    """Adds a user to an organization. Returns his id.

    Raises:
        Conflict: somebody has that email already.

    """
    user_id = new_id()
    done = connection.execute(
        sa.text("""
            INSERT INTO users (id, organization_id, email, password_hash, role, created_at)
            VALUES (:id, :organization_id, :email, :password_hash, :role, :now) ON CONFLICT (email) DO NOTHING
        """),
        {
            "id": user_id,
            "organization_id": organization_id,
            "email": email.lower(),
            "password_hash": hash_password(password),
            "role": role.value,
            "now": now,
        },
    )
    if done.rowcount == 0:
        raise Conflict(f"There is a user {email.lower()} already")
    actor = audit.operator_actor(organization_id)
    entry = audit.Entry(actor, Action.USER_CREATE, public_id(USER, user_id), after={"role": role.value})
    audit.record_entries(connection, [entry], now)
    return user_id


def load_users(connection: sa.Connection) -> list[UserRow]:
    """All users of the installation, by organization."""
    rows = connection.execute(
        sa.text("""
            SELECT email, role, organizations.name, users.created_at
            FROM users JOIN organizations ON organizations.id = organization_id
            ORDER BY organizations.name, users.id
        """)
    )
    return [UserRow._make(row) for row in rows]


def reset_user_password(connection: sa.Connection, email: str, password: str, now: datetime) -> None:
    """Gives a user another password, and ends all of his sessions.

    Raises:
        NotFound: nobody has that email.

    """
    found = connection.execute(
        sa.text("UPDATE users SET password_hash = :password_hash WHERE email = :email RETURNING id, organization_id"),
        {"email": email.lower(), "password_hash": hash_password(password)},
    ).one_or_none()
    if found is None:
        raise NotFound(f"There is no user {email.lower()}")
    user_id, organization_id = found
    connection.execute(
        sa.text("UPDATE sessions SET revoked_at = :now WHERE user_id = :user_id AND revoked_at IS NULL"),
        {"user_id": user_id, "now": now},
    )
    entry = audit.Entry(audit.operator_actor(organization_id), Action.USER_RESET_PASSWORD, public_id(USER, user_id))
    audit.record_entries(connection, [entry], now)
