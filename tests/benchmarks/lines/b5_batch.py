"""B5: a batch of 10,000 payouts, from its release to its last completion."""

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
    """The middle one of three batches counts."""
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
    """Hands a batch in. Returns its id."""
    answer = system.customer.post(PATH, batch(system, bench.size(PAYOUTS, IN_SMALL)))
    return str(answer.data["id"])


def released(system: System, batch_id: str) -> float:
    """How many seconds after the request to release it a batch is completed."""
    with system.database() as database:
        # Not by the API, which shows all payouts of a batch: asked as often as here, that would be what is measured.
        done = "SELECT 1 FROM batches WHERE id = %s AND status = 'completed'"
        started = time.perf_counter()
        assert system.customer.post(f"{PATH}/{batch_id}/release", {}).status == 200
        until(lambda: database.execute(done, [parse_id(BATCH, batch_id)]).fetchone(), "the batch is paid", 120, 0.02)
        return time.perf_counter() - started


LINE = Line("B5", "a batch of 10,000: release → last completion", measure)
