"""B3: bulk requests of 100 payouts, beside their SQL alone."""

from statistics import median_low

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.load import fire
from tests.benchmarks.payload import BULK, bulk
from tests.benchmarks.report import at_least

CONNECTIONS = 16


def measure(bench: Bench) -> None:
    """The median of three rounds counts; workers are suspended."""
    system = bench.system()
    aim = bulk(system)
    bench.yardstick("s")
    with system.suspended("workers", "scheduler", "paystream"):
        fire(aim, CONNECTIONS, 1)
        with bench.watched(system, "bulk POSTs") as watch:
            rounds = [fire(aim, CONNECTIONS, bench.size(5, 2)) for _ in range(bench.size(3, 1))]
            watch.done = sum(load.answers for load in rounds) * BULK
    assert not any(load.refused for load in rounds), rounds
    rate = median_low([load.a_second for load in rounds])
    load = next(load for load in rounds if load.a_second == rate)
    bench.distribution(f"requests of {BULK}, {CONNECTIONS} connections", load)
    bench.add(f"POST /payouts/bulk of {BULK}: payouts", load.a_second * BULK, "/s", at_least(20_000), "s")
    bench.add("the same, p99 of a request", load.percentile(99), "ms")
    bench.close()  # paying what is accepted now would take minutes


LINE = Line("B3", "bulk requests of 100 payouts", measure)
