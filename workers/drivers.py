"""The actor that registers drivers with the provider and polls their verification."""

import uuid

import structlog

from shared.drivers import recipients
from shared.platform import task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import DRIVER, public_id
from workers.context import Context

logger = structlog.get_logger(__name__)


def register_drivers(context: Context, driver_ids: list[uuid.UUID]) -> None:
    """Invited → pending → active, one step a call."""
    pepper, first_seconds = context.settings.peppers, context.settings.verify_after_seconds
    mine, others = context.split_by_lease(driver_ids)
    context.task_sender.enqueue(task_queue.REGISTER_DRIVERS, others)
    failpoint("register.after_passing_on")
    with context.engine.begin() as connection:
        leased = recipients.claim_drivers(connection, mine, lease_seconds=context.settings.lease_seconds)
    failpoint("register.before_call")
    for place, outcome in context.paystream.call_each([driver.call(pepper) for driver in leased]):
        failpoint("register.after_call")
        try:
            with context.engine.begin() as connection:
                recipients.record_recipient_outcome(
                    connection,
                    leased[place],
                    outcome,
                    context.clock.now(),
                    pepper=pepper,
                    first_seconds=first_seconds,
                )
        except Exception:  # the others go on, and this lease expires
            logger.exception("driver.not_recorded", driver=public_id(DRIVER, leased[place].id))


ACTORS = {task_queue.REGISTER_DRIVERS: register_drivers}
