"""Retry the failed payouts of a batch."""

import uuid
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared.batches.rows import BatchRef, RetriedBatch
from shared.payouts.retry import retry_wallet_payouts
from shared.platform.errors import DomainError
from shared.schema.batch_rows import batch_not_found, lock_batches
from shared.schema.scenarios import Scenario

# The batch's failed payouts in the order of the request; locks nothing.
_FAILED_PAYOUTS: Final = sa.text("""
    SELECT id FROM payouts WHERE batch_id = :id AND wallet_id = :wallet_id AND status = 'failed' ORDER BY id
""")


def retry_failed_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    batch_id: uuid.UUID,
    now: datetime,
    *,
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
) -> RetriedBatch | DomainError:
    """Queue the failed payouts that can be paid and are covered, in the order of the request."""
    failed = connection.scalars(_FAILED_PAYOUTS, {"id": batch_id, "wallet_id": wallet_id}).all()
    answers = retry_wallet_payouts(connection, wallet_id, failed, now, grace=grace, scenario=scenario)
    batch = lock_batches(connection, [BatchRef(batch_id, wallet_id)]).get(batch_id)
    if batch is None:
        return batch_not_found(batch_id)
    return RetriedBatch(batch, {payout_id: answers[payout_id] for payout_id in failed})
