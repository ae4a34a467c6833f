"""The actor that makes drivers known to the provider and follows their verification."""

import uuid

import structlog

from shared.drivers import recipients
from shared.platform import task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import DRIVER, public_id
from workers.context import Context

logger = structlog.get_logger(__name__)


def register_drivers(context: Context, driver_ids: list[uuid.UUID]) -> None:
    """Invited → pending → active, one step for each call."""
    pepper, first_seconds = context.settings.peppers, context.settings.verify_after_seconds
    mine, others = context.split_by_lease(driver_ids)
    context.task_sender.enqueue(task_queue.REGISTER_DRIVERS, others)
    failpoint("register.after_passing_on")
    with context.engine.begin() as connection:
        held = recipients.claim_drivers(connection, mine, lease_seconds=context.settings.lease_seconds)
    failpoint("register.before_call")
    for place, outcome in context.paystream.call_each([driver.call(pepper) for driver in held]):
        failpoint("register.after_call")
        try:
            with context.engine.begin() as connection:
                recipients.record_recipient_outcome(
                    connection,
                    held[place],
                    outcome,
                    context.clock.now(),
                    pepper=pepper,
                    first_seconds=first_seconds,
                )
        except Exception:  # this driver's alone; his lease will run out
            logger.exception("driver.not_recorded", driver=public_id(DRIVER, held[place].id))


ACTORS = {task_queue.REGISTER_DRIVERS: register_drivers}
