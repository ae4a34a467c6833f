"""A short run of chaos, and one that must fail; `make chaos`, `chaos-many` and `chaos-controls` run longer."""

from pathlib import Path

import pytest

from tests.chaos import controls
from tests.chaos import report as chaos_report
from tests.chaos.plan import WORKERS, Fault, FaultKind, Plan, ProviderHabit, make_plan
from tests.chaos.run import run_chaos
from tests.support.report_lines import report

pytestmark = pytest.mark.long

SEED, SECONDS = 4, 15


@pytest.mark.timeout(600)
def test_short_chaos_loses_and_doubles_no_payout(tmp_path: Path) -> None:
    # Given the doubled system under load, and a plan with every kind of fault
    plan = make_plan(SEED, SECONDS)
    # When the plan was carried out, and everything is healed
    result = run_chaos(plan, tmp_path, report=lambda text: None)
    report("chaos, short", *plan.table(), *chaos_report.summary_lines([result]))
    # Then all work ends, and clients, database, ledger and Paystream agree
    assert result.outcome.violations == []
    assert result.outcome.paid > 50


@pytest.mark.timeout(600)
def test_calling_the_provider_before_the_commit_pays_twice(tmp_path: Path) -> None:
    """The fastest negative control; the others run in `make chaos-controls`."""
    # Given workers that call Paystream before they commit the submission, and a Paystream that takes a second
    habits = (ProviderHabit("slow:1.0", 1.0, "payments"), ProviderHabit("slow:1.0", 1.0, "batches"))
    # When workers lose their connections to Postgres during calls
    resets = tuple(
        Fault(at, FaultKind.RESET, f"{workers}>postgres", detail=f"{workers}>paystream")
        for at in (1.5, 2.2, 2.9, 3.6)
        for workers in WORKERS
    )

    def doubled(seed: int) -> set[str]:
        home = tmp_path / str(seed)
        home.mkdir()
        plan = Plan(seed, 4, resets, habits)
        result = run_chaos(plan, home, report=lambda text: None, without=controls.WRITE_AHEAD, within_seconds=13)
        return result.outcome.doubled

    # Then a payout is paid twice, and that is found: with the first seed, unless the machine is so busy that the open
    # calls were polls
    assert any(map(doubled, (1, 2, 3)))
