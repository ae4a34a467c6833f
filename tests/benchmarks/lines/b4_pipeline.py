"""B4: payouts from acceptance to completion, through workers, provider and webhooks, all on the same cores."""

from tests.benchmarks import flow
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_least, at_least_times
from tests.benchmarks.system import System

PAYOUTS, IN_SMALL = 20_000, 1_000


def measure(bench: Bench) -> None:
    """Posted in bulk requests, as an ERP does; measured from the first request to the last completion."""
    system = bench.system()
    bench.yardstick("c")
    bench.yardstick("d")
    flow.run(bench, system, bench.size(2_000, 200))  # warm up
    done = drive(bench, system, "all of it")
    bench.distribution("accepted to completed", done.latency)
    bench.curve("rates", "accepted", done.rates(1), "payouts/s")
    bench.curve("rates", "completed", done.rates(2), "payouts/s")
    bench.add(f"{done.payouts:,} payouts, accepted → completed", done.a_second, "/s", at_least(2_000))
    bench.add("the same, beside Celery doing nothing", done.a_second, "/s", at_least_times(2), "d")
    bench.add("the same, beside Dramatiq doing nothing", done.a_second, "/s", None, "c")
    bench.add("one payout, accepted → completed, p50", done.latency.percentile(50) / 1000, "s")
    bench.add("the same, p99", done.latency.percentile(99) / 1000, "s")
    bench.tell(f"accepting took {done.accepted_seconds:.1f} s of {done.seconds:.1f} s")


def drive(bench: Bench, system: System, what: str) -> flow.Flow:
    """Run once, end to end."""
    with bench.watched(system, what) as watch:
        done = flow.run(bench, system, bench.size(PAYOUTS, IN_SMALL))
        watch.done = done.payouts
    return done


LINE = Line("B4", "20,000 payouts, accepted → completed", measure)
