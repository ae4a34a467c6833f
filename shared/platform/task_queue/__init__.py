"""Task queue: Dramatiq on Redis. A message says "these rows have work" and carries ids, nothing else.

Losing, repeating or reordering a message costs latency, never a payout: whatever can act by itself has a
`next_action_at`, and the scheduler's tick enqueues it again.
"""

from shared.platform.task_queue.broker import TaskBroker, make_broker, redis_client
from shared.platform.task_queue.sender import TaskSender, build_messages
from shared.platform.task_queue.tasks import (
    APPLY_PROVIDER_EVENTS,
    DELIVER_CUSTOMER_EVENTS,
    NAMESPACE,
    POLL_INTERVAL_MS,
    POLL_PAYOUTS,
    QUEUE_PAYOUTS,
    QUEUES,
    REGISTER_DRIVERS,
    RELEASE_BATCHES,
    REQUEST_TOPUPS,
    SEND_INSTANT_SUBMISSIONS,
    SEND_SUBMISSIONS,
    SUBMIT_PAYOUTS,
    TASKS,
    WAKE_UP_QUEUES,
    Task,
)

__all__ = [
    "APPLY_PROVIDER_EVENTS",
    "DELIVER_CUSTOMER_EVENTS",
    "NAMESPACE",
    "POLL_INTERVAL_MS",
    "POLL_PAYOUTS",
    "QUEUES",
    "QUEUE_PAYOUTS",
    "REGISTER_DRIVERS",
    "RELEASE_BATCHES",
    "REQUEST_TOPUPS",
    "SEND_INSTANT_SUBMISSIONS",
    "SEND_SUBMISSIONS",
    "SUBMIT_PAYOUTS",
    "TASKS",
    "WAKE_UP_QUEUES",
    "Task",
    "TaskBroker",
    "TaskSender",
    "build_messages",
    "make_broker",
    "redis_client",
]
