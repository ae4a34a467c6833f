"""B2: latency of a single payout over one connection, beside a bare transaction of the same rows."""

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.load import fire
from tests.benchmarks.payload import single
from tests.benchmarks.report import at_most_times


def measure(bench: Bench) -> None:
    """Measured with suspended workers."""
    system = bench.system()
    aim = single(system)
    bench.yardstick("a1")
    with system.suspended("workers", "scheduler", "paystream"):
        fire(aim, 1, 1)
        with bench.watched(system, "one connection") as watch:
            load = fire(aim, 1, bench.size(10, 2))
            watch.done = load.answers
    assert not load.refused, load
    bench.distribution("one connection", load)
    bench.add("single POST /payouts, one connection, p50", load.percentile(50), "ms", at_most_times(2.5), "a1")
    bench.add("the same, p99", load.percentile(99), "ms")


LINE = Line("B2", "the same over one connection: latency", measure)
