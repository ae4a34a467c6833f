"""A batch as it is read, locked, and as the API and the customer's events show it."""

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
    """A batch; see `shared.schema.tables.batches.Batch`."""

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
    """The batch in the API's shape (reference: Batches)."""
    shown: dict[str, Any] = {
        "id": public_id(BATCH, row.id),
        "name": row.name,
        "urgency": row.rail,
        "payoutCount": row.payout_count,
        "totalAmount": row.amount_cents,
        "totalFees": row.fee_cents,
        "netAmount": row.amount_cents - row.fee_cents,
        "status": row.status,
        "scheduledFor": _shown(row.scheduled_for),
        "createdAt": format_rfc3339(row.created_at),
        "releasedAt": _shown(row.released_at),
        "completedAt": _shown(row.completed_at),
    }
    if row.canceled_at is not None:
        shown["canceledAt"] = format_rfc3339(row.canceled_at)
    if row.failure_code is not None:
        shown["failure"] = {"code": row.failure_code, "message": row.failure_message}
    return shown


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else format_rfc3339(moment)


_ASKED = f"""
    SELECT {BATCH_COLUMNS}
    FROM json_to_recordset(CAST(:asked AS json)) AS asked (id uuid, wallet_id uuid)
    JOIN batches ON batches.id = asked.id AND batches.wallet_id = asked.wallet_id
    ORDER BY batches.id
"""
_READ = sa.text(_ASKED)
_LOCK = sa.text(f"{_ASKED} FOR UPDATE OF batches")


def lock_batches(connection: sa.Connection, asked: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> dict[uuid.UUID, BatchRow]:
    """Those of the batches, each named with its wallet, that there are; locked, in the common order."""
    [found] = run_queries(connection, lock_batches_query(asked))
    return found  # type: ignore[no-any-return]


def lock_batches_query(asked: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> Query[dict[uuid.UUID, BatchRow]]:
    """Locks the batches once it is asked; see `lock_batches`."""
    return load_batches_query(asked)._replace(statement=_LOCK)


def load_batches_query(asked: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> Query[dict[uuid.UUID, BatchRow]]:
    """Reads the batches once it is asked, and locks nothing."""
    listed = encode_rows({"id": batch_id, "wallet_id": wallet_id} for batch_id, wallet_id in asked)
    return Query(_READ, {"asked": listed}, lambda rows: {row[0]: BatchRow._make(row) for row in rows})


def batch_not_found(reference: uuid.UUID | str) -> NotFound:
    """The refusal for a batch that this wallet does not have."""
    text = echo_id(BATCH, reference) if isinstance(reference, str) else public_id(BATCH, reference)
    return NotFound(f"No batch {text}", code="BATCH_NOT_FOUND")
