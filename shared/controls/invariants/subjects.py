"""What laws are about, and how to come by it: all of it in portions, or what has changed since a time.

No column is kept for this: what has changed has a row whose id was made then (a payout, a transfer, a submission, a
webhook), and ids are in the order of time.
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
"""Of an id."""
FETCH_SIZE: Final = 5_000


class PackedIds(Sequence[uuid.UUID]):
    """Ids, as few bytes as they have, for there may be millions: all that has changed while no scheduler ran."""

    def __init__(self, in_bytes: bytes | bytearray = b"") -> None:
        self._bytes = bytearray(in_bytes)

    def add(self, in_bytes: bytes) -> None:
        """Some more."""
        self._bytes += in_bytes

    def portions(self, at_once: int) -> "Iterator[PackedIds]":
        """In portions of so many."""
        for begin in range(0, len(self._bytes), at_once * ID_BYTES):
            yield PackedIds(self._bytes[begin : begin + at_once * ID_BYTES])

    def __len__(self) -> int:
        return len(self._bytes) // ID_BYTES

    @overload
    def __getitem__(self, place: int) -> uuid.UUID: ...

    @overload
    def __getitem__(self, place: slice) -> list[uuid.UUID]: ...

    def __getitem__(self, place: int | slice) -> uuid.UUID | list[uuid.UUID]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        begin = range(len(self))[place] * ID_BYTES
        return uuid.UUID(bytes=bytes(self._bytes[begin : begin + ID_BYTES]))


class SubjectPage(NamedTuple):
    """A portion of all there is."""

    keys: Sequence[Any]
    after: str | None
    """Where the next one begins; None: this was the last."""


class Subject(NamedTuple):
    """Rows of one kind, named by their ids."""

    name: str
    at_once: int
    """How many are looked at in one transaction: it should take a second."""
    a_question: int
    """How many of them a question names: what is asked, and answered, is in memory."""
    table: str
    wallet: str
    """The column with the wallet's id."""
    changed: str
    """Selects the ids of those that have changed since `:since_id`."""

    def stretch(
        self, connection: sa.Connection, after: str | None, most: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        """The next ones, in the order of their ids; of some wallets, or of all."""
        where = "id > :after" if wallets is None else f"id > :after AND {self.wallet} = ANY(:wallets)"
        ids = _fetched(
            connection,
            f"SELECT id FROM {self.table} WHERE {where} ORDER BY id LIMIT :most",
            {"after": uuid.UUID(after) if after else NIL_ID, "most": most}
            | ({} if wallets is None else {"wallets": list(wallets)}),
        )
        return SubjectPage(ids, str(ids[-1]) if len(ids) == most else None)

    def since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        """Those that have changed since then, in portions."""
        return _fetched(connection, self.changed, {"since_id": first_id_at(since)}).portions(self.at_once)


def _fetched(connection: sa.Connection, statement: str, values: dict[str, Any]) -> PackedIds:
    """The ids that a statement selects, in their order. They come as bytes: an object for each, though it lived for a
    moment, left the scheduler a fifth larger for good.
    """
    asked = f"""
        SELECT string_agg(uuid_send(id), NULL ORDER BY place)
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM ({statement}) AS wanted (id)) AS placed
        GROUP BY place / {FETCH_SIZE} ORDER BY place / {FETCH_SIZE}
    """
    ids = PackedIds()
    for portion in connection.scalars(sa.text(asked), values, execution_options={"yield_per": 1}):
        ids.add(portion)
    return ids


_TOUCHED: Final = """
    SELECT id FROM payouts WHERE id >= :since_id
    UNION SELECT payout_id FROM transfers WHERE id >= :since_id AND payout_id IS NOT NULL
    UNION SELECT payout_id FROM submission_items WHERE submission_id >= :since_id
    UNION SELECT payout_id FROM customer_events WHERE id >= :since_id AND payout_id IS NOT NULL
    UNION SELECT payout_id FROM provider_events WHERE id >= :since_id AND payout_id IS NOT NULL
"""

PAYOUTS: Final = Subject("payouts", 20_000, 2_000, "payouts", "wallet_id", _TOUCHED)
WALLETS: Final = Subject("wallets", 200, 200, "wallets", "id", "SELECT id FROM wallets")
"""All of them have changed: what is looked at of each then is little."""

BATCHES: Final = Subject(
    "batches",
    50,
    50,
    "batches",
    "wallet_id",
    f"""
    SELECT id FROM batches WHERE id >= :since_id
    UNION SELECT batch_id FROM payouts WHERE id IN ({_TOUCHED}) AND batch_id IS NOT NULL
    """,
)
CUSTOMER_EVENTS: Final = Subject(
    "events", 50_000, 5_000, "customer_events", "wallet_id", "SELECT id FROM customer_events WHERE id >= :since_id"
)


_KEYS: Final = msgspec.msgpack.Decoder(list[tuple[uuid.UUID, str]])


class _Keys(Subject):
    """Remembered answers, named by wallet and key; in the order in which they expire, which has an index."""

    def stretch(
        self, connection: sa.Connection, after: str | None, most: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        expires_at, wallet_id, key = (after or f"0001-01-01T00:00:00+00:00 {NIL_ID} ").split(" ", 2)
        rows = connection.execute(
            sa.text(f"""
                SELECT wallet_id, key, expires_at FROM idempotency_keys
                WHERE expires_at >= :expires_at AND (expires_at, wallet_id, key) > (:expires_at, :wallet_id, :key)
                      {"" if wallets is None else "AND wallet_id = ANY(:wallets)"}
                ORDER BY expires_at, wallet_id, key LIMIT :most
            """),
            {
                "expires_at": datetime.fromisoformat(expires_at),
                "wallet_id": uuid.UUID(wallet_id),
                "key": key,
                "most": most,
            }
            | ({} if wallets is None else {"wallets": list(wallets)}),
        ).all()
        last = rows[-1] if len(rows) == most else None
        keys = [(row.wallet_id, row.key) for row in rows]
        return SubjectPage(keys, f"{last.expires_at.isoformat()} {last.wallet_id} {last.key}" if last else None)

    def since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        before = since + idempotency.KEY_LIFETIME - timedelta(microseconds=1)
        after: str | None = f"{before.isoformat()} {NIL_ID} "
        portions = []
        while after is not None:
            keys, after = self.stretch(connection, after, self.at_once, None)
            portions.append(msgspec.msgpack.encode(keys))  # there may be as many of them as of `_Ids`
        return (_KEYS.decode(portion) for portion in portions)


IDEMPOTENCY_KEYS: Final = _Keys("keys", 5_000, 20, "idempotency_keys", "wallet_id", "")


class _Everything(Subject):
    """For laws whose question finds by itself, and quickly, what it is about."""

    def stretch(
        self, connection: sa.Connection, after: str | None, most: int, wallets: Sequence[uuid.UUID] | None
    ) -> SubjectPage:
        if wallets is not None:
            return SubjectPage(list(wallets), None)
        return SubjectPage(list(connection.scalars(sa.text("SELECT id FROM wallets ORDER BY id"))), None)

    def since(self, connection: sa.Connection, since: datetime) -> Iterable[Sequence[Any]]:
        return [self.stretch(connection, None, 0, None).keys]


WHOLE_DATABASE: Final = _Everything("everything", 1, sys.maxsize, "wallets", "id", "")
