"""A batch's row: reading, locking, and its API payload."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.errors import NotFound
from shared.platform.ids import BATCH, echo_id, public_id
from shared.platform.pipelined_queries import Query, run_queries

BATCH_COLUMNS: Final = ", ".join(
    f"batches.{name}"
    for name in (
        "id",
        "wallet_id",
        "name",
        "rail",
        "status",
        "payout_count",
        "amount_cents",
        "fee_cents",
        "scheduled_for",
        "released_at",
        "completed_at",
        "canceled_at",
        "failure_code",
        "failure_message",
        "created_at",
    )
)
"""The columns of a `BatchRow`, in its order."""


class BatchRow(NamedTuple):
    id: uuid.UUID
    wallet_id: uuid.UUID
    name: str
    rail: str
    status: str
    payout_count: int
    amount_cents: int
    fee_cents: int
    scheduled_for: datetime | None
    released_at: datetime | None
    completed_at: datetime | None
    canceled_at: datetime | None
    failure_code: str | None
    failure_message: str | None
    created_at: datetime


def batch_payload(row: BatchRow) -> dict[str, Any]:
    """The batch as the API and customer events show it."""
    payload: dict[str, Any] = {
        "id": public_id(BATCH, row.id),
        "name": row.name,
        "urgency": row.rail,
        "payoutCount": row.payout_count,
        "totalAmount": row.amount_cents,
        "totalFees": row.fee_cents,
        "netAmount": row.amount_cents - row.fee_cents,
        "status": row.status,
        "scheduledFor": _optional_time(row.scheduled_for),
        "createdAt": format_rfc3339(row.created_at),
        "releasedAt": _optional_time(row.released_at),
        "completedAt": _optional_time(row.completed_at),
    }
    if row.canceled_at is not None:
        payload["canceledAt"] = format_rfc3339(row.canceled_at)
    if row.failure_code is not None:
        payload["failure"] = {"code": row.failure_code, "message": row.failure_message}
    return payload


def _optional_time(moment: datetime | None) -> str | None:
    return None if moment is None else format_rfc3339(moment)


# Reads batches by id and wallet.
_SELECT: Final = f"""
    SELECT {BATCH_COLUMNS}
    FROM json_to_recordset(CAST(:wanted AS json)) AS wanted (id uuid, wallet_id uuid)
    JOIN batches ON batches.id = wanted.id AND batches.wallet_id = wanted.wallet_id
    ORDER BY batches.id
"""
_LOAD: Final = sa.text(_SELECT)
# Locks the batches, in id order.
_LOCK: Final = sa.text(f"{_SELECT} FOR UPDATE OF batches")


def lock_batches(connection: sa.Connection, wanted: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> dict[uuid.UUID, BatchRow]:
    """The batches of these (id, wallet id) pairs by id, locked in id order; missing ones are left out."""
    [batches] = run_queries(connection, lock_batches_query(wanted))
    return batches  # type: ignore[no-any-return]


def lock_batches_query(wanted: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> Query[dict[uuid.UUID, BatchRow]]:
    """Query for `lock_batches`."""
    return load_batches_query(wanted)._replace(statement=_LOCK)


def load_batches_query(wanted: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> Query[dict[uuid.UUID, BatchRow]]:
    """Like `lock_batches_query`, without locks."""
    rows = encode_rows({"id": batch_id, "wallet_id": wallet_id} for batch_id, wallet_id in wanted)
    return Query(_LOAD, {"wanted": rows}, lambda rows: {row[0]: BatchRow._make(row) for row in rows})


def batch_not_found(reference: uuid.UUID | str) -> NotFound:
    text = echo_id(BATCH, reference) if isinstance(reference, str) else public_id(BATCH, reference)
    return NotFound(f"No batch {text}", code="BATCH_NOT_FOUND")
