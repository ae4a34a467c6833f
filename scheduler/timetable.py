"""The timetable: which job runs how often."""

from collections.abc import Callable
from typing import NamedTuple

from scheduler.jobs import Jobs


class TimetableEntry(NamedTuple):
    """One line of the timetable."""

    name: str
    job: Callable[[Jobs], None]
    every_seconds: float


TIMETABLE = (
    TimetableEntry("tick", Jobs.tick, 1.0),
    TimetableEntry("release_batches", Jobs.release_batches, 0.1),
    TimetableEntry("deliver_customer_events", Jobs.deliver_customer_events, 0.2),
    TimetableEntry("guard", Jobs.guard, 1.0),
    TimetableEntry("note_alive", Jobs.refresh_identity, 60.0),
    TimetableEntry("reconcile", Jobs.reconcile, 60.0),
    TimetableEntry("fold_analytics", Jobs.fold_analytics, 2.0),
    TimetableEntry("prove_invariants", Jobs.check_invariants, 5.0),
    TimetableEntry("forget", Jobs.forget, 600.0),
)
