"""Sessions of signed-in users: end after two idle hours, after a day, or by sign-out."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.identity.api_keys.tokens import generate_session_token, hash_token
from shared.platform.ids import new_id

SESSION_LIFETIME: Final = timedelta(hours=24)
SESSION_IDLE_TIMEOUT: Final = timedelta(hours=2)
LAST_SEEN_PRECISION: Final = timedelta(minutes=1)
"""`last_seen_at` is written at most this often."""


class SessionUser(NamedTuple):
    id: uuid.UUID
    email: str
    role: str
    organization_id: uuid.UUID
    organization: str
    """The organization's name."""


class NewSession(NamedTuple):
    token: str
    expires_at: datetime


_USER_COLUMNS: Final = "users.id, users.email, users.role, users.organization_id, organizations.name"

# Reads a user by email.
_FIND_USER: Final = sa.text(f"""
    SELECT {_USER_COLUMNS}, password_hash FROM users JOIN organizations ON organizations.id = organization_id
    WHERE email = :email
""")


def find_user_and_password_hash(connection: sa.Connection, email: str) -> tuple[SessionUser, str] | None:
    """The user with that email and their password hash."""
    row = connection.execute(_FIND_USER, {"email": email.lower()}).one_or_none()
    return None if row is None else (SessionUser._make(row[:-1]), row[-1])


# Inserts a session.
_INSERT_SESSION: Final = sa.text("""
    INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at)
    VALUES (:id, :user_id, :token_hash, :now, :now, :expires_at)
""")


def start_session(connection: sa.Connection, user: SessionUser, pepper: str, now: datetime) -> NewSession:
    """Start a session; its token is stored as a hash only."""
    session = NewSession(generate_session_token(), now + SESSION_LIFETIME)
    connection.execute(
        _INSERT_SESSION,
        {
            "id": new_id(),
            "user_id": user.id,
            "token_hash": hash_token(session.token, pepper),
            "now": now,
            "expires_at": session.expires_at,
        },
    )
    return session


# Reads the user of a session that is neither revoked, expired nor idle.
_FIND_SESSION: Final = sa.text(f"""
    SELECT {_USER_COLUMNS}, sessions.id, last_seen_at FROM sessions
    JOIN users ON users.id = user_id JOIN organizations ON organizations.id = organization_id
    WHERE token_hash = :token_hash AND revoked_at IS NULL AND expires_at > :now AND last_seen_at > :idle
""")
# Updates the last use of a session.
_SET_LAST_SEEN: Final = sa.text("UPDATE sessions SET last_seen_at = :now WHERE id = :id")


def find_session_user(connection: sa.Connection, token_hash: bytes, now: datetime) -> SessionUser | None:
    """The user of a valid session, by its token's hash; None if it is unknown or over. Updates `last_seen_at`."""
    row = connection.execute(
        _FIND_SESSION, {"token_hash": token_hash, "now": now, "idle": now - SESSION_IDLE_TIMEOUT}
    ).one_or_none()
    if row is None:
        return None
    if row[-1] < now - LAST_SEEN_PRECISION:
        connection.execute(_SET_LAST_SEEN, {"id": row[-2], "now": now})
    return SessionUser._make(row[:-2])


def find_session_user_by_hashes(
    connection: sa.Connection, hashes: Sequence[bytes], now: datetime
) -> SessionUser | None:
    """Like `find_session_user`, with the token's hash under each accepted pepper."""
    found = (find_session_user(connection, token_hash, now) for token_hash in hashes)
    return next((user for user in found if user is not None), None)


# Ends a session; locks its row.
_END_SESSION: Final = sa.text(
    "UPDATE sessions SET revoked_at = :now WHERE token_hash = :token_hash AND revoked_at IS NULL"
)


def end_session(connection: sa.Connection, token_hash: bytes, now: datetime) -> None:
    connection.execute(_END_SESSION, {"token_hash": token_hash, "now": now})


# Deletes expired sessions, a limited number.
_DELETE_EXPIRED: Final = sa.text(
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < :before LIMIT :limit)"
)


def delete_expired_sessions(connection: sa.Connection, before: datetime, *, limit: int) -> int:
    """Delete at most `limit` expired sessions; return how many."""
    return connection.execute(_DELETE_EXPIRED, {"before": before, "limit": limit}).rowcount
