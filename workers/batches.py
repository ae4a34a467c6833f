"""The actor that releases batches at their scheduled time."""

import uuid

import structlog
from prometheus_client import Histogram
from sqlalchemy.exc import SQLAlchemyError

from shared.batches.release_due import load_release_slices, release_due_batches
from shared.batches.rows import ReleasedBatch
from shared.platform import task_queue
from shared.platform.errors import DomainError
from shared.platform.failpoints import failpoint
from shared.platform.ids import BATCH, public_id
from workers.context import Context

logger = structlog.get_logger(__name__)

LAG_SECONDS = Histogram(
    "ovnpay_batch_release_lag_seconds",
    "From a batch's scheduled time until its release.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
)

PAYOUTS_PER_TRANSACTION_MAX = 10_000
"""Bounds how long a wallet stays locked; a single batch may have as many."""


def release_batches(context: Context, batch_ids: list[uuid.UUID]) -> None:
    """Queued → processing, with their payouts; or failed if the balance does not cover them."""
    with context.engine.connect() as connection:
        groups = load_release_slices(connection, batch_ids, payouts_max=PAYOUTS_PER_TRANSACTION_MAX)
    while groups:
        group = groups.pop(0)
        try:
            with context.engine.begin() as connection:
                outcomes = release_due_batches(connection, group, context.clock.now(), grace=context.grace)
                failpoint("release.before_commit")
        except SQLAlchemyError:
            # A wallet stays locked, or one batch can't be released: retry each batch alone.
            logger.exception("batches.not_released", batches=[public_id(BATCH, batch_id) for batch_id in group])
            groups += [[batch_id] for batch_id in group] if len(group) > 1 else []
            continue
        failpoint("release.after_commit")
        for batch_id, outcome in outcomes.items():
            if isinstance(outcome, DomainError):
                logger.warning(
                    "batch.not_released", batch=public_id(BATCH, batch_id), code=outcome.code, **outcome.details
                )
            else:
                logger.info("batch.released", batch=public_id(BATCH, batch_id), count=len(outcome.payout_ids))
                context.task_sender.enqueue(task_queue.SUBMIT_PAYOUTS, outcome.payout_ids)
                _observe_lag(outcome)
        failpoint("release.after_enqueue")


def _observe_lag(released: ReleasedBatch) -> None:
    # A second release of the same batch finds no payouts to enqueue, and is not measured.
    batch = released.batch
    if released.payout_ids and batch.scheduled_for is not None and batch.released_at is not None:
        LAG_SECONDS.observe(max((batch.released_at - batch.scheduled_for).total_seconds(), 0.0))


ACTORS = {task_queue.RELEASE_BATCHES: release_batches}
