"""The actor that requests top-ups from the provider and credits them once they have settled."""

import uuid

import structlog

from shared.funding import topups
from shared.platform import task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import TRANSACTION, public_id
from workers.context import Context

logger = structlog.get_logger(__name__)


def request_topups(context: Context, topup_ids: list[uuid.UUID]) -> None:
    """Pending → settled | failed, as the provider reports."""
    settings = context.settings
    mine, others = context.split_by_lease(topup_ids)
    context.task_sender.enqueue(task_queue.REQUEST_TOPUPS, others)
    failpoint("topup.after_passing_on")
    with context.engine.begin() as connection:
        leased = topups.claim_topups(
            connection,
            mine,
            lease_seconds=settings.lease_seconds,
            key_lifetime_seconds=settings.paystream_key_lifetime_seconds,
        )
    for topup in leased:
        failpoint("topup.before_call")
        outcome = topups.call_provider_for_topup(context.paystream, topup)
        failpoint("topup.after_call")
        try:
            with context.engine.begin() as connection:
                topups.record_topup_outcome(connection, topup, outcome, context.clock.now())
                failpoint("topup.before_commit")
        except Exception:  # the others go on, and this lease expires
            logger.exception("topup.not_recorded", topup=public_id(TRANSACTION, topup.id))


ACTORS = {task_queue.REQUEST_TOPUPS: request_topups}
