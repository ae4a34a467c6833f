"""B9: memory of the gateway, a worker process and the scheduler after B4, and whether it grows under load."""

import time
from pathlib import Path

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.flow import Trickle
from tests.benchmarks.lines import b4_pipeline
from tests.benchmarks.report import at_most
from tests.benchmarks.system import System

MOST_MB = {"gateway": 100.0, "workers": 120.0, "scheduler": 80.0}
REQUESTS_A_SECOND = 5.0
"""Bulk requests of 100 payouts during the ten minutes."""
LOOK_SECONDS = 1.0
GROWTH_MB = 5.0
"""Growth from the second to the last fifth of the load that is no growth: allocators keep some pages."""


def measure(bench: Bench) -> None:
    """Resident memory with shared pages, of the largest process of each service."""
    system = bench.system()
    if system.served_payouts < bench.size(b4_pipeline.PAYOUTS, b4_pipeline.IN_SMALL):
        b4_pipeline.drive(bench, system, "B4 before it")
    for name, most in MOST_MB.items():
        bench.add(f"memory of {name} after B4", _resident_mb(system, name), "MB", at_most(most))
    seconds = bench.size(600.0, 10.0)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in MOST_MB}
    started = time.monotonic()
    with bench.watched(system, "load"), Trickle(system, REQUESTS_A_SECOND) as trickle:
        while (now := time.monotonic() - started) < seconds:
            for name, points in seen.items():
                points.append((now, _resident_mb(system, name)))
            time.sleep(LOOK_SECONDS)
    bench.tell(f"load: {trickle.sent / seconds:,.0f} payouts/s for {seconds:,.0f} s")
    for name, points in seen.items():
        bench.curve("memory", name, points, "MB")
        values = [value for _, value in points]
        fifth = max(len(values) // 5, 1)
        grown = sum(values[-fifth:]) / fifth - sum(values[fifth : 2 * fifth]) / fifth
        bench.add(f"growth of {name} during {seconds / 60:g} minutes of load", grown, "MB", at_most(GROWTH_MB))
    system.until_idle()


def _resident_mb(system: System, name: str) -> float:
    """Of workers not the master, which only waits."""
    pids = system.pids(name)
    return max(map(_resident_kb, pids[1:] if name == "workers" else pids[:1])) / 1000


def _resident_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


LINE = Line("B9", "memory after B4, and whether it grows", measure)
