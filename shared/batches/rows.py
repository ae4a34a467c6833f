"""Row types of batches."""

import uuid
from datetime import datetime
from typing import NamedTuple

from shared.payouts.rows import PayoutRow
from shared.platform.errors import DomainError
from shared.schema.batch_rows import BatchRow
from shared.schema.payouts import BatchStatus


class BatchRef(NamedTuple):
    """A batch to act on, and the wallet that must own it."""

    id: uuid.UUID
    wallet_id: uuid.UUID


class BatchDetails(NamedTuple):
    """A batch with its payouts, in the order of the request."""

    batch: BatchRow
    payouts: list[PayoutRow]
    """The first `BATCH_PAYOUTS_SHOWN_MAX`."""
    by_status: dict[str, int]
    cents_by_status: dict[str, int]
    """Cost to the wallet of the payouts in each status."""


class ScheduledStats(NamedTuple):
    """Counts of the scheduled batches."""

    by_status: dict[str, int]
    upcoming_cents: int
    """Cost of the queued ones."""
    next_scheduled: datetime | None


class ReleasedBatch(NamedTuple):
    """A batch after a release."""

    batch: BatchRow
    """Unchanged if it was released before."""
    payout_ids: list[uuid.UUID]
    """Payouts to enqueue."""


class RetriedBatch(NamedTuple):
    """A batch after a retry of its failed payouts."""

    batch: BatchRow
    answers: dict[uuid.UUID, PayoutRow | DomainError]
    """The result for each failed payout, in the order of the request."""


def is_unreleased(batch: BatchRow) -> bool:
    """Return whether none of its money has moved."""
    return batch.status == BatchStatus.QUEUED or (batch.status == BatchStatus.FAILED and batch.failure_code is not None)
