"""Canceling and retrying: what a person may still decide, and what it does to the money."""

import threading
import uuid

import pytest

from shared.payouts import submissions
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, DomainError, InsufficientFunds, NotFound, NotPayable
from shared.platform.ids import new_id
from shared.schema.payouts import PayoutStatus as S
from tests.support.world import GRACE, World


def canceled(world: World, *payout_ids: uuid.UUID) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Cancels, committed."""
    with world.engine.begin() as connection:
        return cancel_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now())


def retried(world: World, *payout_ids: uuid.UUID) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Retries, committed."""
    with world.engine.begin() as connection:
        return retry_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now(), grace=GRACE)


def failed(world: World, count: int = 1) -> list[uuid.UUID]:
    """Payouts that the provider refused."""
    payout_ids, _ = world.leased_submission(count)
    moves = [Move(payout_id, "refused", failure_code="BANK_REJECTED") for payout_id in payout_ids]
    with world.engine.begin() as connection:
        transition_payouts(connection, moves, S.PROCESSING, S.FAILED, world.clock.now())
    return payout_ids


def test_a_payout_can_be_canceled_until_it_is_submitted(world: World) -> None:
    """Validated and queued ones; the money comes back, the customer is told, twice is a conflict."""
    [validated], [queued], ([submitted], _) = world.accepted(), world.queued(), world.leased_submission()
    answers = canceled(world, validated, queued, submitted)
    assert world.statuses([validated, queued, submitted]) == ["canceled", "canceled", "processing"]
    assert isinstance(answers[submitted], Conflict)
    assert answers[submitted].details == {"status": "processing"}  # type: ignore[union-attr]
    for payout_id in (validated, queued):
        assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000)]
        assert world.events(payout_id) == ["payout.created", "payout.cancelled"]
    assert isinstance(canceled(world, validated)[validated], Conflict)
    world.assert_ledger_consistent()


def test_canceling_and_submitting_at_once_have_one_winner(world: World) -> None:
    """Either it is canceled and never sent, or it is sent and the cancel is refused."""
    payout_ids = world.queued(30)
    with_submission: list[uuid.UUID] = []

    def worker() -> None:
        for payout_id in payout_ids:
            with world.engine.begin() as connection:
                done = submissions.prepare_submissions(connection, [payout_id], world.clock.now(), reason="test")
            with_submission.extend(row.id for row in done.rows)

    answers: dict[uuid.UUID, PayoutRow | DomainError] = {}

    def customer() -> None:
        for payout_id in reversed(payout_ids):
            answers.update(canceled(world, payout_id))

    threads = [threading.Thread(target=worker), threading.Thread(target=customer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    called_off = {payout_id for payout_id, answer in answers.items() if isinstance(answer, PayoutRow)}
    assert called_off.isdisjoint(with_submission)
    assert called_off | set(with_submission) == set(payout_ids)
    world.assert_ledger_consistent()


def test_a_failed_payout_is_retried_as_a_new_attempt(world: World) -> None:
    """Reserved again, queued, and due; a new submission with a new key follows."""
    [payout_id] = failed(world)
    [(old,)] = world.rows("SELECT submission_id FROM payouts WHERE id = :id", id=payout_id)
    row = retried(world, payout_id)[payout_id]
    assert isinstance(row, PayoutRow)
    assert (row.status, row.attempt, row.failure_code) == ("queued", 2, None)
    assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000), ("reserve", 45_000)]
    with world.engine.begin() as connection:
        [new] = submissions.prepare_submissions(
            connection, [payout_id], world.clock.now(), reason="test"
        ).submission_ids
    assert new != old
    world.assert_ledger_consistent()


def test_only_failed_payouts_can_be_retried(world: World) -> None:
    """Others are a conflict with their status; another wallet's are unknown."""
    [validated], [stranger], nobody = world.accepted(), failed(World(world.engine)), new_id()
    answers = retried(world, validated, stranger, nobody)
    assert isinstance(answers[validated], Conflict)
    assert isinstance(answers[stranger], NotFound)
    assert isinstance(answers[nobody], NotFound)


def test_retries_are_paid_in_order_until_the_money_ends(world: World) -> None:
    """Given $500 for two payouts of $450: the first is queued, the second stays failed and says why."""
    first, second = failed(world, 2)
    world.leave_available(50_000)
    answers = retried(world, first, second)
    assert world.statuses([first, second]) == ["queued", "failed"]
    refusal = answers[second]
    assert isinstance(refusal, InsufficientFunds)
    assert (refusal.message, refusal.details["available"]) == ("Insufficient funds", 5_000)
    world.assert_ledger_consistent()


@pytest.mark.parametrize("hindrance", ["inactive", "held"])
def test_a_retry_asks_again_whether_it_can_be_paid(world: World, hindrance: str) -> None:
    """An inactive driver, and a payout about which the provider contradicts itself, are refused."""
    [payout_id] = failed(world)
    if hindrance == "inactive":
        world.execute("UPDATE drivers SET status = 'inactive' WHERE wallet_id = :id", id=world.wallet_id)
    else:
        world.execute("UPDATE payouts SET held_reason = 'x' WHERE id = :id", id=payout_id)
    refusal = retried(world, payout_id)[payout_id]
    assert isinstance(refusal, NotPayable if hindrance == "inactive" else Conflict)
    assert world.statuses([payout_id]) == ["failed"]
