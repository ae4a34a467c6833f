"""The actor that asks the provider for top-ups and credits them once they have settled."""

import uuid

import structlog

from shared.funding import topups
from shared.platform import task_queue
from shared.platform.failpoints import crash_point
from shared.platform.ids import TRANSACTION, show
from workers.context import Context

logger = structlog.get_logger(__name__)


def request_topups(context: Context, topup_ids: list[uuid.UUID]) -> None:
    """Pending → settled | failed, by the provider's word."""
    settings = context.settings
    mine, others = context.split_off(topup_ids)
    context.doorbell.ring(task_queue.REQUEST_TOPUPS, others)
    crash_point("topup.after_passing_on")
    with context.engine.begin() as connection:
        held = topups.claim(
            connection,
            mine,
            lease_seconds=settings.lease_seconds,
            key_lifetime_seconds=settings.paystream_key_lifetime_seconds,
        )
    for topup in held:
        crash_point("topup.before_call")
        outcome = topups.ask(context.paystream, topup)
        crash_point("topup.after_call")
        try:
            with context.engine.begin() as connection:
                topups.record(connection, topup, outcome, context.clock.now())
                crash_point("topup.before_commit")
        except Exception:  # this top-up's alone; its lease will run out
            logger.exception("topup.not_recorded", topup=show(TRANSACTION, topup.id))


ACTORS = {task_queue.REQUEST_TOPUPS: request_topups}
