"""Proofs in turn: what has changed is looked at each time, everything within a turn; one scheduler at a law."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from scheduler.jobs import Jobs
from shared.controls.invariants import INVARIANTS, INVARIANTS_BY_NAME, Invariant, sweep
from shared.controls.invariants.subjects import PAYOUTS
from shared.controls.invariants.sweep import SweepState
from shared.platform.clock import SystemClock
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from tests.support.world import World


def histories(world: World, at_once: int) -> Invariant:
    """The law of histories about this wallet alone, in portions of that size."""
    mine = f"SELECT id, wallet_id FROM payouts WHERE wallet_id = '{world.wallet_id}'"
    subject = PAYOUTS._replace(at_once=at_once, table=f"({mine}) AS mine", changed=f"{mine} AND id >= :since_id")
    return INVARIANTS_BY_NAME["histories"]._replace(subject=subject)


@pytest.fixture
def afresh(engine: sa.Engine) -> Iterator[None]:
    """Nothing was proved before, and what this freezes is free again."""

    def clean() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM invariant_proofs; UPDATE outgoing_holds SET lifted_at = now()"))

    clean()
    yield
    clean()


def taken(world: World, law: Invariant) -> SweepState | None:
    """One scheduler's claim."""
    with world.engine.begin() as connection:
        return sweep.claim_invariant_check(connection, law)


def proved(world: World, law: Invariant, rests: timedelta = timedelta(0)) -> sweep.SweepStep:
    """One proof in turn, recorded and due again at once."""
    turn = taken(world, law)
    assert turn is not None
    done = sweep.check_next_slice(world.engine, law, turn, rests)
    with world.engine.begin() as connection:
        sweep.record_sweep_step(connection, turn, done, every_seconds=0.0)
    return done


def breaks(world: World) -> int:
    """How many there are by the table."""
    [(count,)] = world.rows("SELECT breaks FROM invariant_proofs WHERE name = 'histories'")
    return int(str(count))


def planted(world: World) -> uuid.UUID:
    """A payout whose history does not end where it is."""
    [payout_id] = world.queued()
    world.execute("UPDATE payouts SET sequence = sequence + 1 WHERE id = :id", id=payout_id)
    return payout_id


def test_one_scheduler_is_at_a_law(afresh: None, world: World) -> None:
    """The second one goes on to another; after the proof it is due again when its time has come."""
    law = histories(world, 10)
    turn = taken(world, law)
    assert turn is not None
    assert taken(world, law) is None
    done = sweep.check_next_slice(world.engine, law, turn)
    with world.engine.begin() as connection:
        sweep.record_sweep_step(connection, turn, done, every_seconds=300.0)
    assert taken(world, law) is None


def test_a_break_is_found_at_once_and_counts_until_a_turn_is_clean(afresh: None, world: World) -> None:
    """Given that a portion is small, and the payout far from its turn: it has changed lately, and is seen."""
    world.queued(3)
    payout_id = planted(world)
    small = histories(world, at_once=2)
    done = proved(world, small)
    assert done.after is not None
    assert (len(done.breaks), breaks(world)) == (1, 1)
    # Mended, it counts still, for in this turn it was there
    world.execute("UPDATE payouts SET sequence = sequence - 1 WHERE id = :id", id=payout_id)
    assert proved(world, small).breaks == []
    assert breaks(world) == 1
    # A whole turn that finds nothing says that it is over; before it the next one has rested
    while not proved(world, small).over:
        pass
    resting = proved(world, small, sweep.SWEEP_PAUSE)
    assert (resting.checked, resting.over, breaks(world)) == (4, False, 1)
    while not proved(world, small).over:
        pass
    assert breaks(world) == 0


def test_the_job_proves_all_freezes_and_shows_it(
    afresh: None, world: World, settings: Settings, engine: sa.Engine
) -> None:
    """Its row tells of it, and the wallet's money stays."""
    payout_id = planted(world)
    task_sender = TaskSender(settings)
    jobs = Jobs(settings, engine, task_sender, SystemClock())
    jobs.check_invariants()  # not so soon after its start
    assert world.rows("SELECT FROM invariant_proofs") == []
    jobs.began_at -= 60
    jobs.check_invariants()
    task_sender.close()
    world.execute("UPDATE payouts SET sequence = sequence - 1 WHERE id = :id", id=payout_id)
    names = {row[0] for row in world.rows("SELECT name FROM invariant_proofs WHERE proved_at IS NOT NULL")}
    assert names == {law.name for law in INVARIANTS}
    assert breaks(world) >= 1
    kinds = world.rows(
        "SELECT kind FROM outgoing_holds WHERE wallet_id = :id AND lifted_at IS NULL", id=world.wallet_id
    )
    assert kinds == [("frozen",)]
