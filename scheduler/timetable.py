"""The timetable: each job and its interval. An interval is the time between two starts; a run is never overlapped."""

from collections.abc import Callable
from typing import NamedTuple

from scheduler.jobs import Jobs


class TimetableEntry(NamedTuple):
    """A job and its interval."""

    name: str
    """The label `task` of `ovnpay_scheduler_runs_total`."""
    job: Callable[[Jobs], None]
    every_seconds: float


TIMETABLE = (
    TimetableEntry("tick", Jobs.tick, 1.0),
    # Faster than the tick: customers choose the second of a release, and wait for their webhooks.
    TimetableEntry("release_batches", Jobs.release_batches, 0.1),
    TimetableEntry("deliver_customer_events", Jobs.deliver_customer_events, 0.2),
    # Opens the outbound guard within a second of a start of the database.
    TimetableEntry("verify_identity", Jobs.verify_identity, 1.0),
    TimetableEntry("refresh_identity", Jobs.refresh_identity, 60.0),
    TimetableEntry("reconcile", Jobs.reconcile, 60.0),
    TimetableEntry("fold_analytics", Jobs.fold_analytics, 2.0),
    TimetableEntry("check_invariants", Jobs.check_invariants, 5.0),
    TimetableEntry("apply_retention", Jobs.apply_retention, 600.0),
)
