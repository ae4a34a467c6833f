"""A short run of chaos, and one that has to fail; `make chaos`, `chaos-many` and `chaos-controls` run long."""

from pathlib import Path

import pytest

from tests.chaos import controls
from tests.chaos import report as chaos_report
from tests.chaos.plan import WORKERS, Fault, Habit, Kind, Plan, make_plan
from tests.chaos.run import run
from tests.support.report_lines import report

pytestmark = pytest.mark.long

SEED, SECONDS = 4, 15


@pytest.mark.timeout(600)
def test_nobody_is_lost_or_paid_twice_in_a_short_chaos(tmp_path: Path) -> None:
    # Given the whole system twice, under load, and a plan that breaks everything
    plan = make_plan(SEED, SECONDS)
    # When it was carried out, and everything is whole again
    result = run(plan, tmp_path, tell=lambda text: None)
    report("chaos, short", *plan.table(), *chaos_report.summary([result]))
    # Then all work ends, and clients, database, ledger and Paystream say the same
    assert result.verdict.breaks == []
    assert result.verdict.paid > 50


@pytest.mark.timeout(600)
def test_a_provider_that_is_called_before_anything_is_written_down_pays_twice(tmp_path: Path) -> None:
    """The negative control that takes least: the others run in `make chaos-controls`."""
    # Given workers that call Paystream before they have committed what they ask, and a Paystream that takes a second
    habits = (Habit("slow:1.0", 1.0, "payments"), Habit("slow:1.0", 1.0, "batches"))
    # When workers lose their connections to Postgres while calls are in the air
    resets = tuple(
        Fault(at, Kind.RESET, f"{workers}>postgres", detail=f"{workers}>paystream")
        for at in (1.5, 2.2, 2.9, 3.6)
        for workers in WORKERS
    )

    def doubled(seed: int) -> set[str]:
        home = tmp_path / str(seed)
        home.mkdir()
        plan = Plan(seed, 4, resets, habits)
        result = run(plan, home, tell=lambda text: None, without=controls.WRITE_AHEAD, within_seconds=13)
        return result.verdict.doubled

    # Then somebody was paid twice, and it is found: with the first seed, unless the machine is so busy that the calls
    # in the air were questions
    assert any(map(doubled, (1, 2, 3)))
