"""The transition function: only allowed edges, one winner, and the right transfers."""

import re
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.payouts.lifecycle import EDGES, ForbiddenEdge, Move, TransitionResult, transition_payouts
from shared.schema.payouts import PayoutStatus as S
from tests.support.world import World

ROOT = Path(__file__).parents[2]


def move(world: World, payout_id: object, source: S, target: S, **fields: object) -> TransitionResult:
    """Move one payout, committed."""
    move = Move(payout_id, "test", **fields)  # type: ignore[arg-type]
    with world.engine.begin() as connection:
        return transition_payouts(connection, [move], source, target, world.clock.now())


def test_paid_and_returned_payout_moves_money_once(world: World) -> None:
    """Validated → queued → processing → completed → returned; the fee is kept, the net amount comes back."""
    [payout_id] = world.accepted(amount_cents=45_000)
    for source, target in [
        (S.VALIDATED, S.QUEUED),
        (S.QUEUED, S.PROCESSING),
        (S.PROCESSING, S.COMPLETED),
        (S.COMPLETED, S.RETURNED),
    ]:
        assert len(move(world, payout_id, source, target).rows) == 1
    assert world.transfers(payout_id) == [("reserve", 45_000), ("settle", 44_750), ("fee", 250), ("return", 44_750)]
    assert world.events(payout_id) == ["payout.created", "payout.succeeded", "payout.returned"]
    assert world.balances() == (9_999_750, 0, 0, 250, -10_000_000)
    world.assert_ledger_consistent()


def test_retry_is_a_new_attempt_that_reserves_again(world: World) -> None:
    [payout_id] = world.accepted()
    move(world, payout_id, S.VALIDATED, S.QUEUED)
    move(world, payout_id, S.QUEUED, S.PROCESSING)
    [failed] = move(world, payout_id, S.PROCESSING, S.FAILED, failure_code="BANK_REJECTED").rows
    assert (failed.failure_code, failed.attempt) == ("BANK_REJECTED", 1)
    [again] = move(world, payout_id, S.FAILED, S.QUEUED).rows
    assert (again.failure_code, again.attempt) == (None, 2)
    assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000), ("reserve", 45_000)]
    world.assert_ledger_consistent()


def test_transition_outside_the_allowed_edges_raises(world: World) -> None:
    """For every pair of statuses, whatever status the payout has."""
    [payout_id] = world.accepted()
    for source in S:
        for target in S:
            if (source, target) not in EDGES:
                with pytest.raises(ForbiddenEdge):
                    move(world, payout_id, source, target)


def test_one_of_concurrent_transitions_wins(world: World) -> None:
    """Ten threads complete a payout: one moves it, nine get it back as skipped."""
    [payout_id] = world.queued()
    move(world, payout_id, S.QUEUED, S.PROCESSING)
    results: list[TransitionResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(move(world, payout_id, S.PROCESSING, S.COMPLETED)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(result.rows) for result in results) == [0] * 9 + [1]
    assert sum(result.skipped == [payout_id] for result in results) == 9
    assert world.transfers(payout_id) == [("reserve", 45_000), ("settle", 44_750), ("fee", 250)]
    world.assert_ledger_consistent()


def test_crash_before_the_commit_leaves_no_trace(world: World) -> None:
    """Status, history, transfers and event are committed together."""
    [payout_id] = world.queued()
    move(world, payout_id, S.QUEUED, S.PROCESSING)
    before = (world.transfers(payout_id), world.events(payout_id), world.history(payout_id))

    class Crash(Exception):
        pass

    def crash() -> None:
        with world.engine.begin() as connection:
            transition_payouts(connection, [Move(payout_id, "test")], S.PROCESSING, S.COMPLETED, world.clock.now())
            raise Crash

    with pytest.raises(Crash):
        crash()
    assert world.statuses([payout_id]) == ["processing"]
    assert (world.transfers(payout_id), world.events(payout_id), world.history(payout_id)) == before


def test_database_rejects_a_second_settlement_and_changed_books(world: World) -> None:
    """Even from code that bypasses the transition function."""
    world.accepted()  # money in transit for a second settlement to take
    [payout_id] = world.queued()
    move(world, payout_id, S.QUEUED, S.PROCESSING)
    move(world, payout_id, S.PROCESSING, S.COMPLETED)
    world.execute("UPDATE payouts SET status = 'processing' WHERE id = :id", id=payout_id)
    with pytest.raises(sa.exc.IntegrityError, match="uq_transfers_payout_id_attempt_kind"):
        move(world, payout_id, S.PROCESSING, S.COMPLETED)
    world.execute("UPDATE payouts SET status = 'completed' WHERE id = :id", id=payout_id)
    for statement in (
        "UPDATE transfers SET amount_cents = 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers",
        "DELETE FROM payout_transitions",
        "UPDATE customer_events SET type = 'x'",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            world.execute(statement)
    with pytest.raises(sa.exc.IntegrityError, match="balance_not_negative"):
        world.execute(
            "UPDATE accounts SET balance_cents = -1 WHERE wallet_id = :id AND kind = 'fees'", id=world.wallet_id
        )


def test_only_the_transition_assigns_a_status() -> None:
    """One statement updates `payouts.status`, and one inserts payouts."""
    updates, inserts = [], []
    for folder in ("shared", "gateway", "workers", "scheduler"):
        for path in (ROOT / folder).rglob("*.py"):
            text = " ".join(path.read_text().split())
            for match in re.finditer(r"UPDATE payouts SET (.*?)(?:WHERE|FROM)", text):
                if re.search(r"(^|, |\W)status = :?target|(^|, )status = ", match[1]):
                    updates.append(path.relative_to(ROOT).as_posix())
            if "INSERT INTO payouts " in text:
                inserts.append(path.relative_to(ROOT).as_posix())
    assert updates == ["shared/payouts/lifecycle.py"]
    assert inserts == ["shared/payouts/accept.py"]
