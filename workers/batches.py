"""The actor that releases batches whose time has come."""

import uuid

import structlog

from shared import broker
from shared.batches.release import release_due
from shared.errors import Refusal
from shared.ids import BATCH, show
from workers.context import Context

logger = structlog.get_logger(__name__)


def release_batches(context: Context, batch_ids: list[uuid.UUID]) -> None:
    """queued → processing, its payouts with it; or failed, where the money is missing."""
    for batch_id in batch_ids:
        with context.engine.begin() as connection:
            done = release_due(connection, batch_id, context.clock.now(), grace=context.grace)
        if isinstance(done, Refusal):
            logger.warning("batch.not_released", batch=show(BATCH, batch_id), code=done.code, **done.details)
        elif done is not None:
            context.doorbell.ring(broker.SUBMIT_PAYOUTS, done.payout_ids)


ACTORS = {broker.RELEASE_BATCHES: release_batches}
