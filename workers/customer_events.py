"""The actor that delivers customer events to their webhooks."""

import uuid

from shared.platform import task_queue
from workers.context import Context


def deliver_customer_events(context: Context, endpoint_ids: list[uuid.UUID]) -> None:
    """Wakes the deliverer for these endpoints, and does not wait for it: an actor's thread is never a customer's."""
    context.deliver(endpoint_ids)


ACTORS = {task_queue.DELIVER_CUSTOMER_EVENTS: deliver_customer_events}
