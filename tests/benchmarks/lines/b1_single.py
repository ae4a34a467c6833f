"""B1: single payouts of one wallet over 64 connections, beside one payout per transaction in Postgres.

The workers sleep, as whatever else is not (a)'s either; then it is measured once more while they work.
"""

from statistics import median_low

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.load import fire
from tests.benchmarks.payload import CONNECTIONS, single
from tests.benchmarks.report import at_least_times, at_most


def measure(bench: Bench) -> None:
    """The median of three rounds counts."""
    system = bench.system()
    aim, seconds = single(system), bench.size(5.0, 2.0)
    with system.suspended("workers", "scheduler", "paystream"):
        fire(aim, CONNECTIONS, bench.size(2, 1))
        with bench.watched(system, "single POSTs") as watch:
            rounds = [fire(aim, CONNECTIONS, seconds) for _ in range(bench.size(3, 1))]
            watch.done = sum(load.answers for load in rounds)
    assert not any(load.refused for load in rounds), rounds
    rate = median_low([load.a_second for load in rounds])
    load = next(load for load in rounds if load.a_second == rate)
    bench.distribution(f"{CONNECTIONS} connections", load)
    bench.add("single POST /payouts, 64 connections", load.a_second, "/s", at_least_times(5), "a")
    bench.add("the same, p50", load.percentile(50), "ms")
    bench.add("the same, p99", load.percentile(99), "ms", at_most(30))
    bench.add("the same, beside the bare handler", load.a_second, "/s", None, "b")
    busy = fire(aim, CONNECTIONS, seconds)
    bench.distribution("while workers and provider work on the same cores", busy)
    bench.add("the same while the workers work", busy.a_second, "/s", note=f"p99 {busy.percentile(99):.0f} ms")
    bench.close()  # paying what is accepted now would take minutes


LINE = Line("B1", "single POST /payouts on one wallet, 64 connections", measure)
