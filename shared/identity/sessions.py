"""Sessions: a user signs in and gets a token; it ends when idle, after a day, or by sign-out."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.identity.api_keys.tokens import generate_session, hashed
from shared.platform.ids import new_id

LIFETIME: Final = timedelta(hours=24)
IDLE_MOST: Final = timedelta(hours=2)
SEEN_NOTED_EVERY: Final = timedelta(minutes=1)


class Account(NamedTuple):
    """A user who may sign in."""

    id: uuid.UUID
    email: str
    role: str
    organization_id: uuid.UUID
    organization: str


class Started(NamedTuple):
    """A session just begun."""

    token: str
    expires_at: datetime


_ACCOUNT = "users.id, users.email, users.role, users.organization_id, organizations.name"


def find_account(connection: sa.Connection, email: str) -> tuple[Account, str] | None:
    """The user with that email, and his password's hash; None if there is none."""
    row = connection.execute(
        sa.text(f"""
            SELECT {_ACCOUNT}, password_hash FROM users JOIN organizations ON organizations.id = organization_id
            WHERE email = :email
        """),
        {"email": email.lower()},
    ).one_or_none()
    return None if row is None else (Account._make(row[:-1]), row[-1])


def start(connection: sa.Connection, account: Account, pepper: str, now: datetime) -> Started:
    """Begins a session."""
    token = generate_session()
    connection.execute(
        sa.text("""
            INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at)
            VALUES (:id, :user_id, :token_hash, :now, :now, :expires_at)
        """),
        {
            "id": new_id(),
            "user_id": account.id,
            "token_hash": hashed(token, pepper),
            "now": now,
            "expires_at": now + LIFETIME,
        },
    )
    return Started(token, now + LIFETIME)


def find(connection: sa.Connection, token_hash: bytes, now: datetime) -> Account | None:
    """The user behind a token's hash; None when it is unknown, over or revoked. Notes the use, to the minute."""
    row = connection.execute(
        sa.text(f"""
            SELECT {_ACCOUNT}, sessions.id, last_seen_at FROM sessions
            JOIN users ON users.id = user_id JOIN organizations ON organizations.id = organization_id
            WHERE token_hash = :token_hash AND revoked_at IS NULL AND expires_at > :now AND last_seen_at > :idle
        """),
        {"token_hash": token_hash, "now": now, "idle": now - IDLE_MOST},
    ).one_or_none()
    if row is None:
        return None
    if row[-1] < now - SEEN_NOTED_EVERY:
        connection.execute(
            sa.text("UPDATE sessions SET last_seen_at = :now WHERE id = :id"), {"id": row[-2], "now": now}
        )
    return Account._make(row[:-2])


def find_any(connection: sa.Connection, hashes: Sequence[bytes], now: datetime) -> Account | None:
    """The same for a token's hashes under each pepper that is accepted."""
    return next((found for one in hashes if (found := find(connection, one, now)) is not None), None)


def end(connection: sa.Connection, token_hash: bytes, now: datetime) -> None:
    """Ends a session."""
    connection.execute(
        sa.text("UPDATE sessions SET revoked_at = :now WHERE token_hash = :token_hash AND revoked_at IS NULL"),
        {"token_hash": token_hash, "now": now},
    )


def forget_over(connection: sa.Connection, before: datetime, *, limit: int) -> int:
    """Deletes at most `limit` sessions that were over before a time. Returns how many."""
    done = connection.execute(
        sa.text("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < :before LIMIT :limit)"),
        {"before": before, "limit": limit},
    )
    return done.rowcount
