"""The actor that makes drivers known to the provider and follows their verification."""

import uuid

from shared import broker
from shared.drivers import recipients
from workers.context import Context


def register_drivers(context: Context, driver_ids: list[uuid.UUID]) -> None:
    """invited → pending → active, one step for each call."""
    with context.engine.begin() as connection:
        held = recipients.claim(connection, driver_ids, lease_seconds=context.settings.lease_seconds)
    outcomes = context.paystream.call_all([driver.call() for driver in held])
    with context.engine.begin() as connection:
        for driver, outcome in zip(held, outcomes, strict=True):
            recipients.record(connection, driver, outcome, context.clock.now())


ACTORS = {broker.REGISTER_DRIVERS: register_drivers}
