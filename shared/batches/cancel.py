"""Cancel batches that are not released, with their payouts."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared import ledger
from shared.batches.rows import BatchRef, is_unreleased
from shared.payouts.lifecycle import Move, transition_payouts
from shared.platform.errors import Conflict, DomainError
from shared.schema.batch_rows import BatchRow, batch_not_found, lock_batches
from shared.schema.payouts import PayoutStatus

CANCELED_REASON: Final = "canceled with its batch"

# Locks the batches' unreleased payouts in order of id.
_LOCK_PAYOUTS: Final = sa.text("""
    SELECT id, batch_id FROM payouts
    WHERE batch_id = ANY(:ids) AND wallet_id = ANY(:wallets) AND status = 'validated' AND NOT reserved
    ORDER BY id FOR UPDATE
""")

# A wallet's batches that can be canceled; locks nothing.
_UNRELEASED_BATCHES: Final = sa.text("""
    SELECT id, wallet_id FROM batches
    WHERE wallet_id = :wallet_id AND released_at IS NULL AND status IN ('queued', 'failed') ORDER BY id
""")


def cancel_queued_batches(
    connection: sa.Connection, refs: Sequence[BatchRef], now: datetime
) -> dict[uuid.UUID, BatchRow | DomainError]:
    """Cancel those of the batches that are not released; return a result for each."""
    values = {"ids": [ref.id for ref in refs], "wallets": [ref.wallet_id for ref in refs]}
    payouts = connection.execute(_LOCK_PAYOUTS, values).all()
    ledger.lock_wallets(connection, {ref.wallet_id for ref in refs})
    found = lock_batches(connection, refs)
    errors: dict[uuid.UUID, BatchRow | DomainError] = {}
    for ref in refs:
        batch = found.get(ref.id)
        if batch is None:
            errors[ref.id] = batch_not_found(ref.id)
        elif not is_unreleased(batch):
            errors[ref.id] = Conflict(
                f"This batch is {batch.status} and can't be canceled; cancel its payouts one by one instead",
                code="BATCH_NOT_CANCELABLE",
                status=batch.status,
            )
    canceled = {ref.id: ref for ref in refs if ref.id not in errors}
    moves = [Move(row.id, CANCELED_REASON) for row in payouts if row.batch_id in canceled]
    # The transition of the last payout sets the batch to `canceled`.
    transition_payouts(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)
    return errors | dict(lock_batches(connection, canceled.values()))


def load_unreleased_batches(connection: sa.Connection, wallet_id: uuid.UUID) -> list[BatchRef]:
    """Return the wallet's batches that can be canceled."""
    return [BatchRef(*row) for row in connection.execute(_UNRELEASED_BATCHES, {"wallet_id": wallet_id})]
