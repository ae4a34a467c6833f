"""Idempotency: the answer to a POST is stored under the client's key, in the transaction that makes it true.

Callers hold a lock from the look-up to the store, or two requests could both find the key unused: the intake of payouts
the wallet's (`shared.ledger.posting.lock_wallets`), other requests the key's own (`lock_key`). If both use one key,
`store_answers` rejects the later one.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, NotPayable
from shared.platform.ids import BATCH, PAYOUT, parse_id
from shared.platform.pipelined_queries import Query, run_queries

KEY_LIFETIME: Final = timedelta(hours=48)
KEY_LENGTH_MAX: Final = 255


class IdempotencyKeyReused(NotPayable):
    """The Idempotency-Key was used with a different request."""

    code = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, key: str) -> None:
        super().__init__(
            "This Idempotency-Key was already used with a different request; use a new key for a new request",
            header="Idempotency-Key",
            key=key,
        )


class IdempotencyKeyInUse(Conflict):
    """Another request with this Idempotency-Key is being processed or has just been answered."""

    code = "IDEMPOTENCY_KEY_IN_USE"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__(
            "Another request with this Idempotency-Key is in progress; retry in a moment",
            header="Idempotency-Key",
        )


class StoredAnswer(NamedTuple):
    """A stored answer."""

    wallet_id: uuid.UUID
    key: str
    fingerprint: bytes
    http_status: int
    answer: bytes


def request_fingerprint(method: str, path: str, body: bytes) -> bytes:
    """Hash what makes two requests the same: method, path and body, byte for byte."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).digest()


_FIND_ANSWERS: Final = sa.text("""
    SELECT stored.wallet_id, stored.key, stored.fingerprint, stored.http_status, stored.answer
    FROM json_to_recordset(CAST(:keys AS json)) AS wanted (wallet_id uuid, key text)
    CROSS JOIN LATERAL (
        SELECT * FROM idempotency_keys AS found
        WHERE found.wallet_id = wanted.wallet_id AND found.key = wanted.key AND found.expires_at > :now
        OFFSET 0
    ) AS stored
""")
"""Reads unexpired answers, without a lock. LATERAL looks each key up in the index; a plain join scans two days of keys
where the table's statistics are young."""


def find_answers_query(
    keys: Iterable[tuple[uuid.UUID, str]], now: datetime
) -> Query[dict[tuple[uuid.UUID, str], StoredAnswer]]:
    """Query for the unexpired answers of these (wallet, key) pairs."""
    wanted = encode_rows({"wallet_id": wallet_id, "key": key} for wallet_id, key in keys)
    return Query(
        _FIND_ANSWERS,
        {"keys": wanted, "now": now},
        lambda rows: {(row[0], row[1]): StoredAnswer._make(row) for row in rows},
    )


def find_answers(
    connection: sa.Connection, keys: Collection[tuple[uuid.UUID, str]], now: datetime
) -> dict[tuple[uuid.UUID, str], StoredAnswer]:
    """Load the unexpired answers of these (wallet, key) pairs."""
    if not keys:
        return {}
    [found] = run_queries(connection, find_answers_query(keys, now))
    return found  # type: ignore[no-any-return]


def audit_key_hash(key: str | None) -> dict[str, str]:
    """Return what an audit entry records of a request's key: its hash, because the key itself may contain a name."""
    return {} if key is None else {"idempotencyKeyHash": hashlib.sha256(key.encode()).hexdigest()}


def load_created_ids(connection: sa.Connection, wallet_id: uuid.UUID, key: str, now: datetime) -> list[uuid.UUID]:
    """Load the ids of the payouts, or of the batch, that the request under this unexpired key created."""
    stored = find_answers(connection, [(wallet_id, key)], now).get((wallet_id, key))
    if stored is None or stored.http_status != 200:
        return []
    data = msgspec.json.decode(stored.answer).get("data") or {}
    items = [data, *(result.get("item") or {} for result in data.get("results", ()))]
    ids = [parse_id(prefix, str(item.get("id", ""))) for item in items for prefix in (PAYOUT, BATCH)]
    return [one for one in ids if one is not None]


def lock_key(connection: sa.Connection, wallet_id: uuid.UUID, key: str) -> None:
    """Take the advisory lock of a key until the end of the transaction."""
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"{wallet_id} {key}"}
    )


_STORE_ANSWERS: Final = sa.text("""
    INSERT INTO idempotency_keys AS stored
        (wallet_id, key, fingerprint, http_status, answer, created_at, expires_at)
    SELECT wallet_id, key, decode(fingerprint, 'base64'), http_status, decode(answer, 'base64'),
           :now, :expires_at
    FROM json_to_recordset(CAST(:answers AS json))
        AS answer (wallet_id uuid, key text, fingerprint text, http_status int, answer text)
    ON CONFLICT (wallet_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        http_status = excluded.http_status, answer = excluded.answer,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE stored.expires_at <= :now
    RETURNING 1
""")
"""Inserts answers and replaces expired ones; returns a row for each, none where an unexpired answer exists."""


class _AnswerRow(msgspec.Struct):
    """An answer as a JSON parameter; bytes become base64."""

    wallet_id: uuid.UUID
    key: str
    fingerprint: bytes
    http_status: int
    answer: bytes


def store_answers_query(answers: Sequence[StoredAnswer], now: datetime) -> Query[None]:
    """Query that stores answers; see `store_answers`."""

    def read(rows: Sequence[object]) -> None:
        if len(rows) != len(answers):
            raise IdempotencyKeyInUse

    values = {
        "now": now,
        "expires_at": now + KEY_LIFETIME,
        "answers": encode_rows(_AnswerRow(*answer) for answer in answers),
    }
    return Query(_STORE_ANSWERS, values, read)


def store_answers(connection: sa.Connection, answers: Iterable[StoredAnswer], now: datetime) -> None:
    """Store answers for 48 hours, never 429 or 5xx; expired answers are replaced.

    Raises:
        IdempotencyKeyInUse: a key got an answer since it was looked up; the transaction must not commit.

    """
    stored = list(answers)
    if stored:
        run_queries(connection, store_answers_query(stored, now))


def delete_expired_keys(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Delete at most `limit` expired keys; return the number deleted."""
    done = connection.execute(
        sa.text("""
            DELETE FROM idempotency_keys USING (
                SELECT wallet_id, key FROM idempotency_keys WHERE expires_at <= :now
                ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS old
            WHERE idempotency_keys.wallet_id = old.wallet_id AND idempotency_keys.key = old.key
        """),
        {"now": now, "limit": limit},
    )
    return done.rowcount
