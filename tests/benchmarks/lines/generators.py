"""LOAD: both load generators against the echo handler, to show that they are no bottleneck."""

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.load import WRK, fire
from tests.benchmarks.payload import CONNECTIONS, single
from tests.benchmarks.report import at_least
from tests.benchmarks.yardsticks import echo
from tests.benchmarks.yardsticks.ground import SERVICES

MARGIN = 3.0


def measure(bench: Bench) -> None:
    """The goal of both: three times the speed of the system."""
    system = bench.system()
    aim = single(system)
    with system.suspended(*(set(SERVICES) - {"gateway"})):
        ours = fire(aim, CONNECTIONS, bench.size(5, 2))
    wrong = f", {ours.refused} refused" if ours.refused else ""
    bench.tell(f"the system meanwhile: {ours.a_second:,.0f} single POSTs/s{wrong}")
    for bundled in (False, True) if WRK else (True,):
        load = echo.load(bench, bundled=bundled)
        bench.distribution(f"{load.generator} against the echoing handler", load)
        note = "of the system's own rate, just now"
        bench.add(f"{load.generator}, {CONNECTIONS} connections", load.a_second, "/s")
        bench.add(
            f"{load.generator} outruns the system", load.a_second / ours.a_second, "times", at_least(MARGIN), note=note
        )
    bench.close()


LINE = Line("LOAD", "the load generators, against a handler that only echoes", measure)
