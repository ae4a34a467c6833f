"""The benchmarks' table: ratios, goals and the summary."""

import io
import json

import pytest
from rich.console import Console

from tests.benchmarks.report import (
    Figure,
    Goal,
    Report,
    Yardstick,
    at_least,
    at_least_times,
    at_most,
    at_most_times,
    shown,
)

POSTGRES = Yardstick("(a)", "pgbench", 1_500.0, "/s")


def test_a_ratio_is_in_yardsticks() -> None:
    assert Figure("B1", "single", 6_000, "/s", yardstick=POSTGRES).ratio == 4.0
    assert Figure("B1", "single", 6_000, "/s").ratio is None
    assert Figure("B1", "single", 6_000, "/s", yardstick=Yardstick("(x)", "nothing", 0, "/s")).ratio is None


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (None, None),
        (at_least(6_000), True),
        (at_least(6_001), False),
        (at_most(5_999), False),
        (at_least_times(4), True),
        (at_least_times(5), False),
        (at_most_times(4), True),
        (at_most_times(3.9), False),
    ],
)
def test_a_goal_is_of_the_figure_or_of_its_ratio(goal: Goal | None, met: bool | None) -> None:
    assert Figure("B1", "single", 6_000, "/s", goal, POSTGRES).met is met


def test_a_goal_in_yardsticks_needs_one() -> None:
    with pytest.raises(ValueError, match="needs one"):
        Figure("B1", "single", 6_000, "/s", at_least_times(5))


def test_the_report_says_which_goals_are_missed() -> None:
    # Given a goal that is met, one that is missed, and a line that broke
    report = Report({"cores": 2}, quick=True)
    report.figures = [
        Figure("B1", "single", 6_000, "/s", at_least_times(5), POSTGRES),
        Figure("B1", "p99", 12.34, "ms", at_most(30)),
    ]
    report.failures["B4"] = "not within 60 s"
    # Then the summary, the table and the JSON all say so
    assert report.summary() == "Missed: B1 (single: 6,000/s, goal ≥ 5 x (a)). Not measured: B4."
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "missed" in text
    assert "12.3 ms" in text
    assert "in small" in text
    told = json.loads(json.dumps(report.as_json()))
    assert [(line["ratio"], line["met"]) for line in told["lines"]] == [(4.0, False), (None, True)]


@pytest.mark.parametrize(
    ("value", "text"), [(48_123.4, "48,123 ms"), (12.34, "12.3 ms"), (1.234, "1.23 ms"), (2.0, "2 ms")]
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert shown(value, "ms") == text
