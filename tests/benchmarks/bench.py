"""One run of the benchmarks: what the benchmarks get, and where they put their results."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.benchmarks import machine, profiling
from tests.benchmarks.report import Curve, Figure, Goal, Report, Yardstick
from tests.benchmarks.storm import Load
from tests.benchmarks.system import System, running_system

T = TypeVar("T")


class Watch:
    """Set by the benchmark: how many operations were done."""

    done = 0


class Bench:
    """A run of the benchmarks."""

    def __init__(
        self,
        report: Report,
        yardsticks: "Mapping[str, Callable[[Bench], Yardstick]]",
        profile_folder: Path | None = None,
    ) -> None:
        self.report = report
        self.quick = report.quick
        self._measure_yardstick = yardsticks
        self._profile_folder = profile_folder
        self._yardsticks: dict[str, Yardstick] = {}
        self._system: System | None = None
        self._settings: dict[str, str] = {}
        self._open = ExitStack()
        self._started = time.monotonic()
        self.line = ""
        """The benchmark that is running."""

    def size(self, full: T, quick: T) -> T:
        """Return the full size, or the small one of a quick run."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"{time.monotonic() - self._started:7.1f} s  {self.line:9} {text}", file=sys.stderr, flush=True)

    def system(self, *, fresh: bool = False, **settings: str) -> System:
        """Return the system with these settings: the running one, or a new one. Only one runs at a time."""
        if self._system is not None and (fresh or settings != self._settings):
            self.close()
        if self._system is None:
            self.say("starts a system")
            self._settings = settings
            self._system = self._open.enter_context(running_system(**settings))
            self.report.machine |= machine.of_system(self._system)
        return self._system

    def close(self) -> None:
        """Stop the system."""
        self._system = None
        self._open.close()

    def yardstick(self, name: str) -> Yardstick:
        """Return a yardstick, measured at its first use."""
        if name not in self._yardsticks:
            self.say(f"measures the yardstick ({name})")
            self._yardsticks[name] = found = self._measure_yardstick[name](self)
            self.say(f"({name}) {found.what}: {found.value:,.2f} {found.unit}")
            self.report.yardsticks.append(found)
        return self._yardsticks[name]

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        goal: Goal | None = None,
        yardstick: str | None = None,
        note: str = "",
    ) -> None:
        """Add a figure of this benchmark."""
        beside = self.yardstick(yardstick) if yardstick else None
        self.report.figures.append(Figure(self.line, what, value, unit, goal, beside, note))

    def tell(self, text: str) -> None:
        """Add a note."""
        self.report.texts.setdefault(self.line, []).append(text)

    def distribution(self, name: str, load: Load) -> None:
        """Add latencies for the charts."""
        points = [(value, percent) for percent, value in load.curve]
        self.report.curves.append(Curve(f"{self.line} latency", name, "ms", "% answered", points))

    def curve(self, picture: str, name: str, points: list[tuple[float, float]], y_name: str) -> None:
        """Add a rate or a count over time for the charts."""
        self.report.curves.append(Curve(f"{self.line} {picture}", name, "s", y_name, points))

    @contextmanager
    def watched(self, system: System, what: str) -> "Iterator[Watch]":
        """Print the CPU use of each service during the block, per operation if the block sets the number of them.

        With PROFILE=1 it writes profiles too.
        """
        watch, before, started = Watch(), system.cpu_seconds(), time.perf_counter()
        with ExitStack() as stack:
            if self._profile_folder is not None:
                folder = self._profile_folder / f"{self.line} {what}".replace(" ", "-")
                stack.enter_context(profiling.profiled(system, folder))
            yield watch
            seconds = time.perf_counter() - started
            spent = {name: taken - before[name] for name, taken in system.cpu_seconds().items()}
        busy = {name: taken for name, taken in spent.items() if taken / seconds > 0.005}
        shares = ", ".join(f"{name} {taken / seconds:.2f}" for name, taken in busy.items())
        self.tell(f"{what}: cores busy during {seconds:.1f} s: {shares or 'none'}")
        if watch.done:
            each = ", ".join(f"{name} {taken / watch.done * 1e6:,.0f}" for name, taken in busy.items())
            whole = sum(spent.values()) / watch.done * 1e6
            self.tell(f"{what}: microseconds of a core for each of {watch.done:,}: {each}; {whole:,.0f} in all")


Measure = Callable[[Bench], None]


class Line(NamedTuple):
    """One benchmark."""

    name: str
    what: str
    measure: Measure
