"""Each successful response stored under an idempotency key has its rows."""

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

# The stored responses of success among these keys.
_RESPONSES: Final = sa.text("""
    SELECT wallet_id, key, answer FROM idempotency_keys
    JOIN json_to_recordset(CAST(:keys AS json)) AS wanted (wallet_id uuid, key text) USING (wallet_id, key)
    WHERE http_status BETWEEN 200 AND 299
""")


def _find(connection: sa.Connection, key_slice: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    keys = encode_rows({"wallet_id": wallet_id, "key": key} for wallet_id, key in key_slice.keys)
    named: defaultdict[str, list[tuple[uuid.UUID, uuid.UUID, str, str]]] = defaultdict(list)
    for row in connection.execute(_RESPONSES, {"keys": keys}):
        for text in response_object_ids(msgspec.json.decode(row.answer)):
            prefix = text.partition("_")[0]
            if prefix in _TABLES and (object_id := parse_id(prefix, text)) is not None:
                named[prefix].append((row.wallet_id, object_id, text, row.key))
    for prefix, objects in named.items():
        rows = connection.execute(
            sa.text(f"SELECT id, wallet_id FROM {_TABLES[prefix]} WHERE id = ANY(:ids)"),
            {"ids": [object_id for _, object_id, _, _ in objects]},
        )
        existing = {(row.wallet_id, row.id) for row in rows}
        for wallet_id, object_id, text, key in objects:
            if (wallet_id, object_id) not in existing:
                yield wallet_id, f"{text}: the response under key {key!r} says it was created, but it does not exist"


def response_object_ids(response: Any) -> Iterator[str]:
    """Yield the ids that a stored response says exist."""
    data = response.get("data") if isinstance(response, dict) else None
    if not isinstance(data, dict):
        return
    results = [result.get("item") for result in data.get("results") or () if isinstance(result, dict)]
    for item in [data, *results]:
        if isinstance(item, dict):
            yield from (str(item[name]) for name in ("id", "transactionId") if item.get(name))


INVARIANT: Final = Invariant(
    "answers_have_rows",
    "Each stored response of success has its rows, in the wallet of its key",
    IDEMPOTENCY_KEYS,
    _find,
)
