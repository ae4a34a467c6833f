"""The tasks: actors with their queue and priority, and how quickly each queue is polled."""

from typing import Final, NamedTuple


class Task(NamedTuple):
    """An actor to enqueue ids for."""

    actor: str
    queue: str
    """The queue that it consumes; each queue can have its own worker pool."""
    priority: int
    """The order within a pool that consumes several queues; lower goes first."""
    ids_per_message: int = 500
    """Few where each id may cost a call to the provider, because threads then share the work."""


QUEUE_PAYOUTS: Final = Task("payouts.queue", "payouts", 20)
SUBMIT_PAYOUTS: Final = Task("payouts.submit", "payouts", 20)
POLL_PAYOUTS: Final = Task("payouts.poll", "provider_polls", 40, 4)
SEND_SUBMISSIONS: Final = Task("submissions.send", "payouts", 20, 4)
SEND_INSTANT_SUBMISSIONS: Final = Task("submissions.send_instant", "instant", 0, 4)
APPLY_PROVIDER_EVENTS: Final = Task("provider_events.apply", "provider_events", 10)
RELEASE_BATCHES: Final = Task("batches.release", "batches", 5)
REGISTER_DRIVERS: Final = Task("drivers.register", "drivers", 30, 4)
REQUEST_TOPUPS: Final = Task("topups.request", "drivers", 30, 4)
DELIVER_CUSTOMER_EVENTS: Final = Task("customer_events.deliver", "customer_events", 50)
"""Carries ids of endpoints, not of events: the worker looks up what is due for each."""

TASKS: Final = (
    QUEUE_PAYOUTS,
    SUBMIT_PAYOUTS,
    POLL_PAYOUTS,
    SEND_SUBMISSIONS,
    SEND_INSTANT_SUBMISSIONS,
    APPLY_PROVIDER_EVENTS,
    RELEASE_BATCHES,
    REGISTER_DRIVERS,
    REQUEST_TOPUPS,
    DELIVER_CUSTOMER_EVENTS,
)
QUEUES: Final = tuple(dict.fromkeys(task.queue for task in TASKS))

NAMESPACE: Final = "ovnpay"
"""Prefix of the broker's keys in Redis."""

POLL_INTERVAL_MS: Final = {
    "instant": 50,
    "batches": 25,
    "provider_events": 50,
    "payouts": 100,
    "drivers": 100,
    "provider_polls": 250,
    "customer_events": 100,
}
"""Poll interval of an idle worker in milliseconds: the upper bound on pickup latency. A poll costs a fifth of a
millisecond of a core; Dramatiq's default of a second is too slow for a driver who waits for money."""

WAKE_UP_QUEUES: Final = frozenset({"instant"})
"""Queues whose idle workers block until they are woken; they still poll, in case the woken worker has died."""
