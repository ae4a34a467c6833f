"""The actor that delivers customer events to their webhooks."""

import uuid

from shared.platform import task_queue
from workers.context import Context


def deliver_customer_events(context: Context, endpoint_ids: list[uuid.UUID]) -> None:
    """Wake the delivery worker for these endpoints, without waiting: a call never occupies an actor's thread."""
    context.deliver(endpoint_ids)


ACTORS = {task_queue.DELIVER_CUSTOMER_EVENTS: deliver_customer_events}
