"""Has each request that was answered with success, under a key, what its answer says: its rows, in its own wallet?"""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from shared.controls.invariants.invariant import Invariant, KeySlice
from shared.controls.invariants.subjects import IDEMPOTENCY_KEYS
from shared.platform.database import encode_rows
from shared.platform.ids import BATCH, DRIVER, PAYOUT, TRANSACTION, WEBHOOK, parse_id

_TABLES: Final = {
    PAYOUT: "payouts",
    BATCH: "batches",
    DRIVER: "drivers",
    TRANSACTION: "topups",
    WEBHOOK: "webhook_endpoints",
}

_ANSWERS: Final = sa.text("""
    SELECT wallet_id, key, answer FROM idempotency_keys
    JOIN json_to_recordset(CAST(:keys AS json)) AS asked (wallet_id uuid, key text) USING (wallet_id, key)
    WHERE http_status BETWEEN 200 AND 299
""")


def _breaks(connection: sa.Connection, portion: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    keys = encode_rows({"wallet_id": wallet_id, "key": key} for wallet_id, key in portion.keys)
    named: defaultdict[str, list[tuple[uuid.UUID, uuid.UUID, str, str]]] = defaultdict(list)
    for row in connection.execute(_ANSWERS, {"keys": keys}):
        for text in response_object_ids(msgspec.json.decode(row.answer)):
            prefix = text.partition("_")[0]
            if prefix in _TABLES and (found := parse_id(prefix, text)) is not None:
                named[prefix].append((row.wallet_id, found, text, row.key))
    for prefix, told in named.items():
        rows = connection.execute(
            sa.text(f"SELECT id, wallet_id FROM {_TABLES[prefix]} WHERE id = ANY(:ids)"),
            {"ids": [one[1] for one in told]},
        )
        there = {(row.wallet_id, row.id) for row in rows}
        for wallet_id, found, text, key in told:
            if (wallet_id, found) not in there:
                yield wallet_id, f"{text}: the answer under key {key!r} says that it was made, and it is not there"


def response_object_ids(answer: Any) -> Iterator[str]:
    """What a remembered answer says that there is: its object, or each of a bulk request's."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        return
    results = [result.get("item") for result in data.get("results") or () if isinstance(result, dict)]
    for one in [data, *results]:
        if isinstance(one, dict):
            yield from (str(one[name]) for name in ("id", "transactionId") if one.get(name))


INVARIANT: Final = Invariant(
    "answers_have_rows", "Each answer of success has its rows, in the wallet of its key", IDEMPOTENCY_KEYS, _breaks
)
