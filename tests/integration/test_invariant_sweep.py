"""Sweeps check changes at each step and all rows over time; one scheduler at a time checks an invariant."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from scheduler.jobs import Jobs
from shared.controls.invariants import INVARIANTS, INVARIANTS_BY_NAME, Invariant, sweep
from shared.controls.invariants.subjects import PAYOUTS
from shared.controls.invariants.sweep import FORMER_NAMES, SweepState
from shared.platform.clock import SystemClock
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from tests.support.world import World


def histories(world: World, slice_size: int) -> Invariant:
    """Return the invariant `histories` for this wallet only, with slices of that size."""
    mine = f"SELECT id, wallet_id FROM payouts WHERE wallet_id = '{world.wallet_id}'"
    subject = PAYOUTS._replace(
        slice_size=slice_size, table=f"({mine}) AS mine", changed_query=f"{mine} AND id >= :since_id"
    )
    return INVARIANTS_BY_NAME["histories"]._replace(subject=subject)


@pytest.fixture
def no_checks(engine: sa.Engine) -> Iterator[None]:
    """Start without recorded checks; lift the holds that the test places."""

    def clean() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM invariant_proofs; UPDATE outgoing_holds SET lifted_at = now()"))

    clean()
    yield
    clean()


def claim(world: World, invariant: Invariant) -> SweepState | None:
    with world.engine.begin() as connection:
        return sweep.claim_invariant_check(connection, invariant)


def run_step(world: World, invariant: Invariant, pause: timedelta = timedelta(0)) -> sweep.SweepStep:
    """Run one step and record it as due again at once."""
    state = claim(world, invariant)
    assert state is not None
    step = sweep.check_next_slice(world.engine, invariant, state, pause)
    with world.engine.begin() as connection:
        sweep.record_sweep_step(connection, state, step, every_seconds=0.0)
    return step


def recorded_violations(world: World) -> int:
    [(count,)] = world.rows("SELECT breaks FROM invariant_proofs WHERE name = 'histories'")
    return int(str(count))


def break_history(world: World) -> uuid.UUID:
    """Create a payout whose history does not end at its status."""
    [payout_id] = world.queued()
    world.execute("UPDATE payouts SET sequence = sequence + 1 WHERE id = :id", id=payout_id)
    return payout_id


def test_one_scheduler_at_a_time_checks_an_invariant(no_checks: None, world: World) -> None:
    invariant = histories(world, 10)
    state = claim(world, invariant)
    assert state is not None
    assert claim(world, invariant) is None
    step = sweep.check_next_slice(world.engine, invariant, state)
    with world.engine.begin() as connection:
        sweep.record_sweep_step(connection, state, step, every_seconds=300.0)
    assert claim(world, invariant) is None


def test_violation_is_found_at_once_and_counts_until_a_sweep_finds_none(no_checks: None, world: World) -> None:
    # Given small slices, and a violation far from the next one
    world.queued(3)
    payout_id = break_history(world)
    invariant = histories(world, slice_size=2)
    # When a step runs, then the violation is found, because the payout has changed
    step = run_step(world, invariant)
    assert step.after is not None
    assert (len(step.violations), recorded_violations(world)) == (1, 1)
    # When it is repaired, then it still counts until the sweep ends
    world.execute("UPDATE payouts SET sequence = sequence - 1 WHERE id = :id", id=payout_id)
    assert run_step(world, invariant).violations == []
    assert recorded_violations(world) == 1
    while not run_step(world, invariant).ended:
        pass
    # When sweeps pause, then only changes are checked
    paused = run_step(world, invariant, sweep.SWEEP_PAUSE)
    assert (paused.checked, paused.ended, recorded_violations(world)) == (4, False, 1)
    # When a whole sweep finds none, then nothing counts
    while not run_step(world, invariant).ended:
        pass
    assert recorded_violations(world) == 0


@pytest.mark.parametrize("name", FORMER_NAMES)
def test_row_under_a_former_name_is_taken_over(no_checks: None, world: World, name: str) -> None:
    # Given what an earlier release recorded under the former name
    world.execute(
        """
        INSERT INTO invariant_proofs (name, proved_at, checked, breaks, turn_after, turn_breaks, turned_breaks, example)
        VALUES (:name, now(), 7, 2, 'cursor', 1, 2, 'an example')
        """,
        name=FORMER_NAMES[name],
    )
    # When the invariant is claimed, then its state is kept
    state = claim(world, INVARIANTS_BY_NAME[name])
    assert state is not None
    assert (state.after, state.violations, state.last_violations) == ("cursor", 1, 2)
    assert state.checked_at is not None
    assert world.rows("SELECT name, breaks, example FROM invariant_proofs") == [(name, 2, "an example")]
    # When a process of the earlier release records a check again, then only the current row is reported
    world.execute("INSERT INTO invariant_proofs (name, proved_at) VALUES (:name, now())", name=FORMER_NAMES[name])
    with world.engine.connect() as connection:
        assert [one.name for one in sweep.load_invariant_statuses(connection)] == [name]


def test_job_checks_all_invariants_records_violations_and_freezes_money(
    no_checks: None, world: World, settings: Settings, engine: sa.Engine
) -> None:
    payout_id = break_history(world)
    task_sender = TaskSender(settings)
    jobs = Jobs(settings, engine, task_sender, SystemClock())
    jobs.check_invariants()  # too soon after the start
    assert world.rows("SELECT FROM invariant_proofs") == []
    jobs.started_at -= 60
    jobs.check_invariants()
    task_sender.close()
    world.execute("UPDATE payouts SET sequence = sequence - 1 WHERE id = :id", id=payout_id)
    names = {row[0] for row in world.rows("SELECT name FROM invariant_proofs WHERE proved_at IS NOT NULL")}
    assert names == {invariant.name for invariant in INVARIANTS}
    assert recorded_violations(world) >= 1
    kinds = world.rows(
        "SELECT kind FROM outgoing_holds WHERE wallet_id = :id AND lifted_at IS NULL", id=world.wallet_id
    )
    assert kinds == [("frozen",)]
