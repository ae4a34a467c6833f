"""Users of organizations and their passwords (argon2id: each check takes tens of milliseconds)."""

import uuid
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from shared.identity import audit
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import USER, new_id, public_id
from shared.schema.audit import Action
from shared.schema.organizations import Role

_HASHER: Final = PasswordHasher()


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


@cache
def _dummy_hash() -> str:
    return _HASHER.hash("no user has this password")


def check_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is correct. Call it outside transactions.

    Takes as long for an unknown user (None): timing does not reveal who exists.
    """
    try:
        return _HASHER.verify(password_hash or _dummy_hash(), password) and password_hash is not None
    except VerificationError:
        return False


class UserRow(NamedTuple):
    email: str
    role: str
    organization: str
    """The organization's name."""
    created_at: datetime


# Inserts a user unless the email is taken.
_INSERT_USER: Final = sa.text("""
    INSERT INTO users (id, organization_id, email, password_hash, role, created_at)
    VALUES (:id, :organization_id, :email, :password_hash, :role, :now) ON CONFLICT (email) DO NOTHING
""")


def add_user(
    connection: sa.Connection, organization_id: uuid.UUID, email: str, password: str, role: Role, now: datetime
) -> uuid.UUID:
    """Add a user to an organization and return their id.

    Raises:
        Conflict: another user has that email.
    """
    user_id = new_id()
    inserted = connection.execute(
        _INSERT_USER,
        {
            "id": user_id,
            "organization_id": organization_id,
            "email": email.lower(),
            "password_hash": hash_password(password),
            "role": role.value,
            "now": now,
        },
    )
    if inserted.rowcount == 0:
        raise Conflict(f"A user with the email {email.lower()} already exists")
    actor = audit.operator_actor(organization_id)
    entry = audit.Entry(actor, Action.USER_CREATE, public_id(USER, user_id), after={"role": role.value})
    audit.record_entries(connection, [entry], now)
    return user_id


# Reads all users of the installation.
_LOAD_USERS: Final = sa.text("""
    SELECT email, role, organizations.name, users.created_at
    FROM users JOIN organizations ON organizations.id = organization_id
    ORDER BY organizations.name, users.id
""")


def load_users(connection: sa.Connection) -> list[UserRow]:
    """All users of the installation, by organization."""
    return [UserRow._make(row) for row in connection.execute(_LOAD_USERS)]


# Replaces a user's password hash; locks the user's row.
_SET_PASSWORD: Final = sa.text(
    "UPDATE users SET password_hash = :password_hash WHERE email = :email RETURNING id, organization_id"
)
# Ends a user's sessions; locks their rows.
_END_SESSIONS: Final = sa.text("UPDATE sessions SET revoked_at = :now WHERE user_id = :user_id AND revoked_at IS NULL")


def reset_user_password(connection: sa.Connection, email: str, password: str, now: datetime) -> None:
    """Replace a user's password and end all their sessions.

    Raises:
        NotFound: no user has that email.

    """
    found = connection.execute(
        _SET_PASSWORD, {"email": email.lower(), "password_hash": hash_password(password)}
    ).one_or_none()
    if found is None:
        raise NotFound(f"No user has the email {email.lower()}")
    user_id, organization_id = found
    connection.execute(_END_SESSIONS, {"user_id": user_id, "now": now})
    entry = audit.Entry(audit.operator_actor(organization_id), Action.USER_RESET_PASSWORD, public_id(USER, user_id))
    audit.record_entries(connection, [entry], now)
