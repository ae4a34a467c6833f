"""The timetable: which job runs how often."""

from collections.abc import Callable
from typing import NamedTuple

from scheduler.jobs import Jobs


class Entry(NamedTuple):
    """One line of the timetable."""

    name: str
    job: Callable[[Jobs], None]
    every_seconds: float


TIMETABLE = (
    Entry("tick", Jobs.tick, 1.0),
    Entry("release_batches", Jobs.release_batches, 0.1),
    Entry("deliver_customer_events", Jobs.deliver_customer_events, 0.2),
    Entry("guard", Jobs.guard, 1.0),
    Entry("note_alive", Jobs.note_alive, 60.0),
    Entry("reconcile", Jobs.reconcile, 60.0),
    Entry("fold_analytics", Jobs.fold_analytics, 2.0),
    Entry("prove_invariants", Jobs.prove_invariants, 5.0),
    Entry("forget", Jobs.forget, 600.0),
)
