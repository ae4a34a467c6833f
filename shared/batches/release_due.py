"""Release scheduled batches whose time has come."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared.batches.release import release_queued_batches
from shared.batches.rows import BatchRef, ReleasedBatch
from shared.identity import audit
from shared.platform.errors import DomainError

# Due batches in the order of their times, by the database's clock; locks nothing.
_DUE_BATCHES: Final = sa.text("""
    SELECT batches.id, wallet_id, organization_id FROM batches JOIN wallets ON wallets.id = wallet_id
    WHERE batches.id = ANY(:ids) AND status = 'queued' AND scheduled_for <= clock_timestamp()
    ORDER BY scheduled_for, batches.id
""")

# Sizes of batches in the order of their times; locks nothing.
_PAYOUT_COUNTS: Final = sa.text("SELECT id, payout_count FROM batches WHERE id = ANY(:ids) ORDER BY scheduled_for, id")


def release_due_batches(
    connection: sa.Connection, batch_ids: Sequence[uuid.UUID], now: datetime, *, grace: timedelta
) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    """Release the batches that are due, in the order of their times; others are not in the results."""
    rows = connection.execute(_DUE_BATCHES, {"ids": list(batch_ids)}).all()
    if not rows:
        return {}
    actors = {row.wallet_id: audit.system_actor(row.organization_id, row.wallet_id) for row in rows}
    refs = [BatchRef(row.id, row.wallet_id) for row in rows]
    return release_queued_batches(connection, refs, now, by=actors, grace=grace, due_only=True)


def load_release_slices(
    connection: sa.Connection, batch_ids: Sequence[uuid.UUID], *, payouts_max: int
) -> list[list[uuid.UUID]]:
    """Return the batches in slices of at most so many payouts, or of one batch: a transaction for each locks a wallet
    briefly.
    """
    slices: list[list[uuid.UUID]] = []
    size = payouts_max
    for row in connection.execute(_PAYOUT_COUNTS, {"ids": list(batch_ids)}):
        size += row.payout_count
        if size > payouts_max or not slices:
            slices.append([])
            size = row.payout_count
        slices[-1].append(row.id)
    return slices
