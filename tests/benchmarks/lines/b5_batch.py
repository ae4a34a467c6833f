"""B5: a batch of 10,000 payouts, from its release to the last completion."""

import time

from shared.platform.ids import BATCH, parse_id
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.payload import batch
from tests.benchmarks.report import at_most
from tests.benchmarks.system import System
from tests.support.polling import until

PAYOUTS, IN_SMALL = 10_000, 500
PATH = "/api/v1/batches"


def measure(bench: Bench) -> None:
    """The median of three batches counts."""
    system = bench.system()
    batch_ids = [hand_in(bench, system) for _ in range(bench.size(3, 1))]
    with bench.watched(system, "batches") as watch:
        taken = sorted(released(system, batch_id) for batch_id in batch_ids)
        watch.done = len(batch_ids) * bench.size(PAYOUTS, IN_SMALL)
    bench.add(
        f"a batch of {bench.size(PAYOUTS, IN_SMALL):,}, release → last completion",
        taken[len(taken) // 2],
        "s",
        at_most(6),
        note=f"slowest {taken[-1]:.1f} s" if len(taken) > 1 else "",
    )


def hand_in(bench: Bench, system: System) -> str:
    """Create a batch; return its id."""
    answer = system.customer.post(PATH, batch(system, bench.size(PAYOUTS, IN_SMALL)))
    return str(answer.data["id"])


def released(system: System, batch_id: str) -> float:
    """Release a batch; return the seconds until it is completed."""
    with system.database() as database:
        # Not by the API, which returns all payouts of a batch: that would slow down what is measured.
        done = "SELECT 1 FROM batches WHERE id = %s AND status = 'completed'"
        started = time.perf_counter()
        assert system.customer.post(f"{PATH}/{batch_id}/release", {}).status == 200
        until(lambda: database.execute(done, [parse_id(BATCH, batch_id)]).fetchone(), "the batch is paid", 120, 0.02)
        return time.perf_counter() - started


LINE = Line("B5", "a batch of 10,000: release → last completion", measure)
