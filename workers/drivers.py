"""The actor that makes drivers known to the provider and follows their verification."""

import uuid

import structlog

from shared.drivers import recipients
from shared.platform import task_queue
from shared.platform.failpoints import crash_point
from shared.platform.ids import DRIVER, show
from workers.context import Context

logger = structlog.get_logger(__name__)


def register_drivers(context: Context, driver_ids: list[uuid.UUID]) -> None:
    """Invited → pending → active, one step for each call."""
    pepper, first_seconds = context.settings.peppers, context.settings.verify_after_seconds
    mine, others = context.split_off(driver_ids)
    context.doorbell.ring(task_queue.REGISTER_DRIVERS, others)
    crash_point("register.after_passing_on")
    with context.engine.begin() as connection:
        held = recipients.claim(connection, mine, lease_seconds=context.settings.lease_seconds)
    crash_point("register.before_call")
    for place, outcome in context.paystream.call_each([driver.call(pepper) for driver in held]):
        crash_point("register.after_call")
        try:
            with context.engine.begin() as connection:
                recipients.record(
                    connection,
                    held[place],
                    outcome,
                    context.clock.now(),
                    pepper=pepper,
                    first_seconds=first_seconds,
                )
        except Exception:  # this driver's alone; his lease will run out
            logger.exception("driver.not_recorded", driver=show(DRIVER, held[place].id))


ACTORS = {task_queue.REGISTER_DRIVERS: register_drivers}
