"""Change the time of a batch that is not released."""

import uuid
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.batches.rows import BatchRef, is_unreleased
from shared.platform.errors import Conflict, DomainError
from shared.schema.batch_rows import BATCH_COLUMNS, BatchRow, batch_not_found, lock_batches

# Queues a locked batch again, with another time.
_RESCHEDULE: Final = sa.text(f"""
    UPDATE batches SET status = 'queued', scheduled_for = :scheduled_for, next_action_at = :scheduled_for,
                       failure_code = NULL, failure_message = NULL
    WHERE id = :id RETURNING {BATCH_COLUMNS}
""")


def set_batch_schedule(
    connection: sa.Connection, wallet_id: uuid.UUID, batch_id: uuid.UUID, scheduled_for: datetime | None
) -> BatchRow | DomainError:
    """Set or remove the batch's time; one that failed for lack of money is queued again."""
    batch = lock_batches(connection, [BatchRef(batch_id, wallet_id)]).get(batch_id)
    if batch is None:
        return batch_not_found(batch_id)
    if not is_unreleased(batch):
        return Conflict(
            f"This batch is {batch.status}; only a batch that is not released can be rescheduled",
            code="BATCH_NOT_RESCHEDULABLE",
            status=batch.status,
        )
    row = connection.execute(_RESCHEDULE, {"id": batch_id, "scheduled_for": scheduled_for}).one()
    return BatchRow._make(row)
