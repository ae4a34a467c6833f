"""Idempotency: the answer to a POST is stored under the customer's key in the transaction that made it true.

Callers hold a lock while they look a key up and store its answer, so that two requests with one key can't both find
it free: the intake of payouts the wallet's (`shared.ledger.lock_wallets`), the others the key's own (`lock_key`). Where
the two
meet on one key, `store_answers` tells the later one.
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
    """This Idempotency-Key was used with a different request."""

    code = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, key: str) -> None:
        super().__init__(
            "This Idempotency-Key was already used with a different request; use a new key for a new request",
            header="Idempotency-Key",
            key=key,
        )


class IdempotencyKeyInUse(Conflict):
    """Another request with this Idempotency-Key has just been answered."""

    code = "IDEMPOTENCY_KEY_IN_USE"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__(
            "Another request with this Idempotency-Key is under way; repeat this one in a moment",
            header="Idempotency-Key",
        )


class StoredAnswer(NamedTuple):
    """A remembered answer."""

    wallet_id: uuid.UUID
    key: str
    fingerprint: bytes
    http_status: int
    answer: bytes


def request_fingerprint(method: str, path: str, body: bytes) -> bytes:
    """What makes two requests the same: method, path and body, to the byte."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).digest()


_FIND: Final = sa.text("""
    SELECT held.wallet_id, held.key, held.fingerprint, held.http_status, held.answer
    FROM json_to_recordset(CAST(:keys AS json)) AS asked (wallet_id uuid, key text)
    CROSS JOIN LATERAL (
        SELECT * FROM idempotency_keys AS held
        WHERE held.wallet_id = asked.wallet_id AND held.key = asked.key AND held.expires_at > :now
        OFFSET 0
    ) AS held
""")
"""Key by key through the index: as a join it is a walk through all keys of two days wherever statistics are young."""


def find_answers_query(
    keys: Iterable[tuple[uuid.UUID, str]], now: datetime
) -> Query[dict[tuple[uuid.UUID, str], StoredAnswer]]:
    """Asks for the answers that these (wallet, key) pairs have already got and that have not expired."""
    asked = encode_rows({"wallet_id": wallet_id, "key": key} for wallet_id, key in keys)
    return Query(
        _FIND, {"keys": asked, "now": now}, lambda rows: {(row[0], row[1]): StoredAnswer._make(row) for row in rows}
    )


def find_answers(
    connection: sa.Connection, keys: Collection[tuple[uuid.UUID, str]], now: datetime
) -> dict[tuple[uuid.UUID, str], StoredAnswer]:
    """The answers that these (wallet, key) pairs have already got and that have not expired."""
    if not keys:
        return {}
    [found] = run_queries(connection, find_answers_query(keys, now))
    return found  # type: ignore[no-any-return]


def audit_key_hash(key: str | None) -> dict[str, str]:
    """What the audit log keeps of the key of a request that makes payouts: enough to know it again. The key itself is
    the customer's word, and may have a name in it.
    """
    return {} if key is None else {"idempotencyKeyHash": hashlib.sha256(key.encode()).hexdigest()}


def load_created_ids(connection: sa.Connection, wallet_id: uuid.UUID, key: str, now: datetime) -> list[uuid.UUID]:
    """The ids of the payouts, or of the batch, that the request under this key has made; none, if it made none, was
    never heard, or is longer ago than a key lives.
    """
    stored = find_answers(connection, [(wallet_id, key)], now).get((wallet_id, key))
    if stored is None or stored.http_status != 200:
        return []
    data = msgspec.json.decode(stored.answer).get("data") or {}
    shown = [data, *(result.get("item") or {} for result in data.get("results", ()))]
    ids = [parse_id(prefix, str(one.get("id", ""))) for one in shown for prefix in (PAYOUT, BATCH)]
    return [one for one in ids if one is not None]


def lock_key(connection: sa.Connection, wallet_id: uuid.UUID, key: str) -> None:
    """Makes requests with one key wait for each other, until the end of the transaction."""
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"{wallet_id} {key}"}
    )


_STORE: Final = sa.text("""
    INSERT INTO idempotency_keys AS held
        (wallet_id, key, fingerprint, http_status, answer, created_at, expires_at)
    SELECT wallet_id, key, decode(fingerprint, 'base64'), http_status, decode(answer, 'base64'),
           :now, :expires_at
    FROM json_to_recordset(CAST(:answers AS json))
        AS answer (wallet_id uuid, key text, fingerprint text, http_status int, answer text)
    ON CONFLICT (wallet_id, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        http_status = excluded.http_status, answer = excluded.answer,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE held.expires_at <= :now
    RETURNING 1
""")


class _Row(msgspec.Struct):
    """An answer as it is sent to the database."""

    wallet_id: uuid.UUID
    key: str
    fingerprint: bytes
    http_status: int
    answer: bytes


def store_answers_query(answers: Sequence[StoredAnswer], now: datetime) -> Query[None]:
    """Remembers answers once it is asked; see `store_answers`."""

    def read(rows: Sequence[object]) -> None:
        if len(rows) != len(answers):
            raise IdempotencyKeyInUse

    values = {"now": now, "expires_at": now + KEY_LIFETIME, "answers": encode_rows(_Row(*answer) for answer in answers)}
    return Query(_STORE, values, read)


def store_answers(connection: sa.Connection, answers: Iterable[StoredAnswer], now: datetime) -> None:
    """Remembers answers for 48 hours; an expired answer under the same key is replaced.

    Callers do not store 429 and 5xx: those are no answers to the request.

    Raises:
        Taken: one of the keys has got an answer since it was looked up. The transaction must not be committed.

    """
    listed = list(answers)
    if listed:
        run_queries(connection, store_answers_query(listed, now))


def delete_expired_keys(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Deletes at most `limit` expired keys. Returns how many."""
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
