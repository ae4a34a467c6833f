"""B11: scale out: B4 with one and two worker processes, one and two gateways, and the CPU use of each."""

import os
from contextlib import ExitStack

from tests.benchmarks import flow
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.lines import b4_pipeline

SHAPES = ((1, 1), (2, 1), (1, 2), (2, 2))
"""Numbers of worker processes and gateways."""


def measure(bench: Bench) -> None:
    """The second gateway gets half of the requests; all webhooks of the provider go to the first."""
    system = bench.system()
    flow.run(bench, system, bench.size(2_000, 200))
    alone = 0.0
    for workers, gateways in SHAPES:
        shape = f"{workers} x workers, {gateways} x gateway"
        with ExitStack() as stack:
            urls = [system.stack["gateway"]]
            urls += [stack.enter_context(system.another("gateway")) for _ in range(gateways - 1)]
            for _ in range(workers - 1):
                stack.enter_context(system.another("workers"))
            with bench.watched(system, shape) as watch:
                done = flow.run(bench, system, bench.size(b4_pipeline.PAYOUTS, b4_pipeline.IN_SMALL), urls)
                watch.done = done.payouts
        alone = alone or done.a_second
        bench.add(f"B4 with {shape}", done.a_second, "/s", note=f"{done.a_second / alone:.2f} of the first")
        bench.curve("completed", shape, done.rates(2), "payouts/s")
    bench.tell(
        f"{os.cpu_count()} cores; above, what each service has had of them. Where that adds up to all cores, the cores "
        "are the knee, and one more process only divides them; where a service with one process stays near 1.00 while "
        "cores are idle, that process is."
    )


LINE = Line("B11", "B4 with more processes", measure)
