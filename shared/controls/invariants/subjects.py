"""The rows that invariants are about: pages of all, or those that changed since a time.

Every change writes a row with a time-ordered id (payout, transfer, submission, webhook), so none has to be recorded.
"""

import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, overload

import msgspec
import sqlalchemy as sa

from shared.platform import idempotency
from shared.platform.ids import first_id_at

NIL_ID: Final = uuid.UUID(int=0)
ID_BYTES: Final = 16
FETCH_SIZE: Final = 5_000


class PackedIds(Sequence[uuid.UUID]):
    """Ids in 16 bytes each: after an outage of all schedulers there may be millions."""

    def __init__(self, packed: bytes | bytearray = b"") -> None:
        self._bytes = bytearray(packed)

    def extend(self, packed: bytes) -> None:
        self._bytes += packed

    def slices(self, size: int) -> "Iterator[PackedIds]":
        for begin in range(0, len(self._bytes), size * ID_BYTES):
            yield PackedIds(self._bytes[begin : begin + size * ID_BYTES])

    def __len__(self) -> int:
        return len(self._bytes) // ID_BYTES

    @overload
    def __getitem__(self, index: int) -> uuid.UUID: ...

    @overload
    def __getitem__(self, index: slice) -> list[uuid.UUID]: ...

    def __getitem__(self, index: int | slice) -> uuid.UUID | list[uuid.UUID]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        begin = range(len(self))[index] * ID_BYTES
        return uuid.UUID(bytes=bytes(self._bytes[begin : begin + ID_BYTES]))


class SubjectPage(NamedTuple):
    """One page of all keys of a subject."""

    keys: Sequence[Any]
    after: str | None
    """Cursor of the next page; None after the last one."""


class Subject(NamedTuple):
    """Rows of one kind, identified by their ids."""

    name: str
    slice_size: int
    """Rows checked in one transaction, sized to take about a second."""
    query_size: int
    """Rows that one query names: its parameters and result are held in memory."""
    table: str
    wallet_column: str
    """The column with the wallet's id."""
    changed_query: str
    """Selects the ids of rows that changed since `:since_id`."""

    def page(
        self, connection: sa.Connection, after: str | None, limit: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        """Load the next keys, ordered by id."""
        where = "id > :after" if wallets is None else f"id > :after AND {self.wallet_column} = ANY(:wallets)"
        ids = _fetch_ids(
            connection,
            f"SELECT id FROM {self.table} WHERE {where} ORDER BY id LIMIT :limit",
            {"after": uuid.UUID(after) if after else NIL_ID, "limit": limit}
            | ({} if wallets is None else {"wallets": list(wallets)}),
        )
        return SubjectPage(ids, str(ids[-1]) if len(ids) == limit else None)

    def changed_since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        """Return the keys of rows that changed since then, in slices."""
        return _fetch_ids(connection, self.changed_query, {"since_id": first_id_at(since)}).slices(self.slice_size)


def _fetch_ids(connection: sa.Connection, statement: str, values: dict[str, Any]) -> PackedIds:
    """Fetch ids in order, packed by the database: single objects made the scheduler's memory a fifth larger."""
    packed_query = f"""
        SELECT string_agg(uuid_send(id), NULL ORDER BY row_number)
        FROM (SELECT id, row_number() OVER (ORDER BY id) FROM ({statement}) AS wanted (id)) AS numbered
        GROUP BY row_number / {FETCH_SIZE} ORDER BY row_number / {FETCH_SIZE}
    """
    ids = PackedIds()
    for packed in connection.scalars(sa.text(packed_query), values, execution_options={"yield_per": 1}):
        ids.extend(packed)
    return ids


_CHANGED_PAYOUTS: Final = """
    SELECT id FROM payouts WHERE id >= :since_id
    UNION SELECT payout_id FROM transfers WHERE id >= :since_id AND payout_id IS NOT NULL
    UNION SELECT payout_id FROM submission_items WHERE submission_id >= :since_id
    UNION SELECT payout_id FROM customer_events WHERE id >= :since_id AND payout_id IS NOT NULL
    UNION SELECT payout_id FROM provider_events WHERE id >= :since_id AND payout_id IS NOT NULL
"""

PAYOUTS: Final = Subject("payouts", 20_000, 2_000, "payouts", "wallet_id", _CHANGED_PAYOUTS)
WALLETS: Final = Subject("wallets", 200, 200, "wallets", "id", "SELECT id FROM wallets")
"""All wallets count as changed: checking the recent changes of each is cheap."""

BATCHES: Final = Subject(
    "batches",
    50,
    50,
    "batches",
    "wallet_id",
    f"""
    SELECT id FROM batches WHERE id >= :since_id
    UNION SELECT batch_id FROM payouts WHERE id IN ({_CHANGED_PAYOUTS}) AND batch_id IS NOT NULL
    """,
)
CUSTOMER_EVENTS: Final = Subject(
    "events", 50_000, 5_000, "customer_events", "wallet_id", "SELECT id FROM customer_events WHERE id >= :since_id"
)


_KEYS_DECODER: Final = msgspec.msgpack.Decoder(list[tuple[uuid.UUID, str]])


class _IdempotencyKeys(Subject):
    """Keys by wallet and key, ordered by expiry, which is indexed."""

    def page(
        self, connection: sa.Connection, after: str | None, limit: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        expires_at, wallet_id, key = (after or f"0001-01-01T00:00:00+00:00 {NIL_ID} ").split(" ", 2)
        rows = connection.execute(
            sa.text(f"""
                SELECT wallet_id, key, expires_at FROM idempotency_keys
                WHERE expires_at >= :expires_at AND (expires_at, wallet_id, key) > (:expires_at, :wallet_id, :key)
                      {"" if wallets is None else "AND wallet_id = ANY(:wallets)"}
                ORDER BY expires_at, wallet_id, key LIMIT :limit
            """),
            {
                "expires_at": datetime.fromisoformat(expires_at),
                "wallet_id": uuid.UUID(wallet_id),
                "key": key,
                "limit": limit,
            }
            | ({} if wallets is None else {"wallets": list(wallets)}),
        ).all()
        last = rows[-1] if len(rows) == limit else None
        keys = [(row.wallet_id, row.key) for row in rows]
        return SubjectPage(keys, f"{last.expires_at.isoformat()} {last.wallet_id} {last.key}" if last else None)

    def changed_since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        before = since + idempotency.KEY_LIFETIME - timedelta(microseconds=1)
        after: str | None = f"{before.isoformat()} {NIL_ID} "
        slices = []
        while after is not None:
            keys, after = self.page(connection, after, self.slice_size, None)
            slices.append(msgspec.msgpack.encode(keys))  # packed, like `PackedIds`
        return (_KEYS_DECODER.decode(packed) for packed in slices)


IDEMPOTENCY_KEYS: Final = _IdempotencyKeys("keys", 5_000, 20, "idempotency_keys", "wallet_id", "")


class _WholeDatabase(Subject):
    """For checks whose query finds its rows itself; the keys are wallets."""

    def page(
        self, connection: sa.Connection, after: str | None, limit: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        if wallets is not None:
            return SubjectPage(list(wallets), None)
        return SubjectPage(list(connection.scalars(sa.text("SELECT id FROM wallets ORDER BY id"))), None)

    def changed_since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        return [self.page(connection, None, 0, None).keys]


WHOLE_DATABASE: Final = _WholeDatabase("everything", 1, sys.maxsize, "wallets", "id", "")
