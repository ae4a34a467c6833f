"""The figures with yardsticks and goals, as a table and as JSON."""

import enum
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table


class Bound(enum.StrEnum):
    """The direction of a goal."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True)
class Yardstick:
    """A figure of well-known software in the same run."""

    name: str
    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Goal:
    """A goal for the figure or, with `of_yardstick`, for its ratio to the yardstick."""

    bound: Bound
    value: float
    of_yardstick: bool = False

    def is_met_by(self, value: float) -> bool:
        """Whether a value meets the goal."""
        return value >= self.value if self.bound is Bound.AT_LEAST else value <= self.value


def at_least(value: float) -> Goal:
    """The figure must not be smaller."""
    return Goal(Bound.AT_LEAST, value)


def at_most(value: float) -> Goal:
    """The figure must not be larger."""
    return Goal(Bound.AT_MOST, value)


def at_least_times(ratio: float) -> Goal:
    """The ratio to the yardstick must not be smaller."""
    return Goal(Bound.AT_LEAST, ratio, of_yardstick=True)


def at_most_times(ratio: float) -> Goal:
    """The ratio to the yardstick must not be larger."""
    return Goal(Bound.AT_MOST, ratio, of_yardstick=True)


@dataclass(frozen=True)
class Figure:
    """One figure."""

    line: str
    """Its benchmark, like B1."""
    what: str
    value: float
    unit: str
    goal: Goal | None = None
    yardstick: Yardstick | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.goal is not None and self.goal.of_yardstick and self.yardstick is None:
            raise ValueError(f"{self.line}: a goal in yardsticks needs one")

    @property
    def ratio(self) -> float | None:
        """The ratio to the yardstick; None without one, or if that is zero."""
        return self.value / self.yardstick.value if self.yardstick is not None and self.yardstick.value else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        measured = self.ratio if self.goal.of_yardstick else self.value
        return measured is not None and self.goal.is_met_by(measured)


@dataclass(frozen=True)
class Curve:
    """A distribution of latencies, or a rate over time; curves of one chart are drawn together."""

    picture: str
    name: str
    x_name: str
    y_name: str
    points: Sequence[tuple[float, float]]


@dataclass
class Report:
    """All results of a run."""

    machine: dict[str, Any]
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    yardsticks: list[Yardstick] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    """Notes of the benchmarks."""
    failures: dict[str, str] = field(default_factory=dict)
    """Failed benchmarks, with the error."""

    @property
    def missed(self) -> list[Figure]:
        """Figures that miss their goal."""
        return [figure for figure in self.figures if figure.met is False]

    def as_json(self) -> dict[str, Any]:
        """Return the contents of bench.json."""
        return {
            "quick": self.quick,
            "machine": self.machine,
            "yardsticks": [asdict(one) for one in self.yardsticks],
            "lines": [_as_json(figure) for figure in self.figures],
            "texts": self.texts,
            "failures": self.failures,
            "curves": [asdict(one) for one in self.curves],
        }

    def table(self) -> Table:
        """Return the table."""
        table = Table(title="OVN Pay, measured" + (" in small: the figures say little" if self.quick else ""))
        for name in ("line", "what"):
            table.add_column(name)
        for name in ("figure", "goal", "yardstick", "ratio"):
            table.add_column(name, justify="right")
        table.add_column("met")
        before = None
        for figure in self.figures:
            if before not in (None, figure.line):
                table.add_section()
            table.add_row(*cells(figure, first=figure.line != before))
            before = figure.line
        return table

    def summary(self) -> str:
        """Return a sentence with the missed goals."""
        if not self.missed and not self.failures:
            return "Every goal is met." if self.figures else "Nothing was measured."
        parts = [f"{one.line} ({one.what}: {shown(one.value, one.unit)}, goal {goal_cell(one)})" for one in self.missed]
        said = f"Missed: {'; '.join(parts)}." if parts else ""
        could_not = f"Not measured: {', '.join(self.failures)}." if self.failures else ""
        return " ".join(part for part in (said, could_not) if part)


def cells(figure: Figure, *, first: bool = True) -> list[str]:
    """Return a row of the table; `first` of its benchmark."""
    yardstick = figure.yardstick
    met = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
    return [
        figure.line if first else "",
        figure.what + (f" [dim]{figure.note}[/]" if figure.note else ""),
        shown(figure.value, figure.unit),
        goal_cell(figure),
        "" if yardstick is None else f"{yardstick.name} {shown(yardstick.value, yardstick.unit)}",
        "" if figure.ratio is None else f"{figure.ratio:,.2f}",
        met,
    ]


def goal_cell(figure: Figure) -> str:
    """Return a short form of the goal."""
    goal = figure.goal
    if goal is None:
        return ""
    if goal.of_yardstick and figure.yardstick is not None:
        return f"{goal.bound} {goal.value:g} x {figure.yardstick.name}"
    return f"{goal.bound} {shown(goal.value, figure.unit)}"


def shown(value: float, unit: str) -> str:
    """Return a number with three significant digits."""
    decimals = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{decimals}f}"
    return text + (unit if unit in ("/s", "%") else f" {unit}" if unit else "")


def _as_json(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"ratio": figure.ratio, "met": figure.met}
