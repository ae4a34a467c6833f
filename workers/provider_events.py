"""The actor that applies the provider's webhooks."""

import uuid

from shared import broker, provider_events
from workers.context import Context


def apply_provider_events(context: Context, event_ids: list[uuid.UUID]) -> None:
    """processing → completed | failed, and completed → returned, by the provider's word."""
    with context.engine.begin() as connection:
        provider_events.apply(connection, event_ids, context.clock.now())


ACTORS = {broker.APPLY_PROVIDER_EVENTS: apply_provider_events}
