"""Sessions: a user signs in and gets a token; it ends when idle, after a day, or by sign-out."""

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


class SessionUser(NamedTuple):
    """A user who may sign in."""

    id: uuid.UUID
    email: str
    role: str
    organization_id: uuid.UUID
    organization: str


class NewSession(NamedTuple):
    """A session just begun."""

    token: str
    expires_at: datetime


_ACCOUNT = "users.id, users.email, users.role, users.organization_id, organizations.name"


def find_user_and_password_hash(connection: sa.Connection, email: str) -> tuple[SessionUser, str] | None:
    """The user with that email, and his password's hash; None if there is none."""
    row = connection.execute(
        sa.text(f"""
            SELECT {_ACCOUNT}, password_hash FROM users JOIN organizations ON organizations.id = organization_id
            WHERE email = :email
        """),
        {"email": email.lower()},
    ).one_or_none()
    return None if row is None else (SessionUser._make(row[:-1]), row[-1])


def start_session(connection: sa.Connection, account: SessionUser, pepper: str, now: datetime) -> NewSession:
    """Begins a session."""
    token = generate_session_token()
    connection.execute(
        sa.text("""
            INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at)
            VALUES (:id, :user_id, :token_hash, :now, :now, :expires_at)
        """),
        {
            "id": new_id(),
            "user_id": account.id,
            "token_hash": hash_token(token, pepper),
            "now": now,
            "expires_at": now + SESSION_LIFETIME,
        },
    )
    return NewSession(token, now + SESSION_LIFETIME)


def find_session_user(connection: sa.Connection, token_hash: bytes, now: datetime) -> SessionUser | None:
    """The user behind a token's hash; None when it is unknown, over or revoked. Notes the use, to the minute."""
    row = connection.execute(
        sa.text(f"""
            SELECT {_ACCOUNT}, sessions.id, last_seen_at FROM sessions
            JOIN users ON users.id = user_id JOIN organizations ON organizations.id = organization_id
            WHERE token_hash = :token_hash AND revoked_at IS NULL AND expires_at > :now AND last_seen_at > :idle
        """),
        {"token_hash": token_hash, "now": now, "idle": now - SESSION_IDLE_TIMEOUT},
    ).one_or_none()
    if row is None:
        return None
    if row[-1] < now - LAST_SEEN_PRECISION:
        connection.execute(
            sa.text("UPDATE sessions SET last_seen_at = :now WHERE id = :id"), {"id": row[-2], "now": now}
        )
    return SessionUser._make(row[:-2])


def find_session_user_by_hashes(
    connection: sa.Connection, hashes: Sequence[bytes], now: datetime
) -> SessionUser | None:
    """The same for a token's hashes under each pepper that is accepted."""
    return next((found for one in hashes if (found := find_session_user(connection, one, now)) is not None), None)


def end_session(connection: sa.Connection, token_hash: bytes, now: datetime) -> None:
    """Ends a session."""
    connection.execute(
        sa.text("UPDATE sessions SET revoked_at = :now WHERE token_hash = :token_hash AND revoked_at IS NULL"),
        {"token_hash": token_hash, "now": now},
    )


def delete_expired_sessions(connection: sa.Connection, before: datetime, *, limit: int) -> int:
    """Deletes at most `limit` sessions that were over before a time. Returns how many."""
    done = connection.execute(
        sa.text("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < :before LIMIT :limit)"),
        {"before": before, "limit": limit},
    )
    return done.rowcount
