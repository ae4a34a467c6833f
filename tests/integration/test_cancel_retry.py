"""Cancel and retry: what a customer can do with a payout, and its effect on the money."""

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


def cancel(world: World, *payout_ids: uuid.UUID) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Cancel payouts, committed."""
    with world.engine.begin() as connection:
        return cancel_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now())


def retry(world: World, *payout_ids: uuid.UUID) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Retry payouts, committed."""
    with world.engine.begin() as connection:
        return retry_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now(), grace=GRACE)


def failed_payouts(world: World, count: int = 1) -> list[uuid.UUID]:
    """Payouts that the provider rejected."""
    payout_ids, _ = world.leased_submission(count)
    moves = [Move(payout_id, "refused", failure_code="BANK_REJECTED") for payout_id in payout_ids]
    with world.engine.begin() as connection:
        transition_payouts(connection, moves, S.PROCESSING, S.FAILED, world.clock.now())
    return payout_ids


def test_payout_can_be_canceled_until_submitted(world: World) -> None:
    """The amount is released and the customer receives an event; a second cancel is a conflict."""
    [validated], [queued], ([submitted], _) = world.accepted(), world.queued(), world.leased_submission()
    answers = cancel(world, validated, queued, submitted)
    assert world.statuses([validated, queued, submitted]) == ["canceled", "canceled", "processing"]
    assert isinstance(answers[submitted], Conflict)
    assert answers[submitted].details == {"status": "processing"}  # type: ignore[union-attr]
    for payout_id in (validated, queued):
        assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000)]
        assert world.events(payout_id) == ["payout.created", "payout.cancelled"]
    assert isinstance(cancel(world, validated)[validated], Conflict)
    world.assert_ledger_consistent()


def test_concurrent_cancel_and_submission_have_one_winner(world: World) -> None:
    """A payout is either canceled and never sent, or sent and the cancel is rejected."""
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
            answers.update(cancel(world, payout_id))

    threads = [threading.Thread(target=worker), threading.Thread(target=customer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    canceled_ids = {payout_id for payout_id, answer in answers.items() if isinstance(answer, PayoutRow)}
    assert canceled_ids.isdisjoint(with_submission)
    assert canceled_ids | set(with_submission) == set(payout_ids)
    world.assert_ledger_consistent()


def test_retry_of_failed_payout_is_a_new_attempt(world: World) -> None:
    """Reserved again, queued and due; a new submission with a new key follows."""
    [payout_id] = failed_payouts(world)
    [(old,)] = world.rows("SELECT submission_id FROM payouts WHERE id = :id", id=payout_id)
    row = retry(world, payout_id)[payout_id]
    assert isinstance(row, PayoutRow)
    assert (row.status, row.attempt, row.failure_code) == ("queued", 2, None)
    assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000), ("reserve", 45_000)]
    with world.engine.begin() as connection:
        [new] = submissions.prepare_submissions(
            connection, [payout_id], world.clock.now(), reason="test"
        ).submission_ids
    assert new != old
    world.assert_ledger_consistent()


def test_retry_of_other_payouts_is_rejected(world: World) -> None:
    [validated], [other], missing = world.accepted(), failed_payouts(World(world.engine)), new_id()
    answers = retry(world, validated, other, missing)
    assert isinstance(answers[validated], Conflict)
    assert isinstance(answers[other], NotFound)
    assert isinstance(answers[missing], NotFound)


def test_retries_beyond_the_balance_are_rejected(world: World) -> None:
    """$500 covers the first of two payouts of $450."""
    first, second = failed_payouts(world, 2)
    world.leave_available(50_000)
    answers = retry(world, first, second)
    assert world.statuses([first, second]) == ["queued", "failed"]
    refusal = answers[second]
    assert isinstance(refusal, InsufficientFunds)
    assert (refusal.message, refusal.details["available"]) == ("Insufficient funds", 5_000)
    world.assert_ledger_consistent()


@pytest.mark.parametrize("obstacle", ["inactive", "held"])
def test_retry_of_unpayable_payout_is_rejected(world: World, obstacle: str) -> None:
    """For an inactive driver, or a payout on hold."""
    [payout_id] = failed_payouts(world)
    if obstacle == "inactive":
        world.execute("UPDATE drivers SET status = 'inactive' WHERE wallet_id = :id", id=world.wallet_id)
    else:
        world.execute("UPDATE payouts SET held_reason = 'x' WHERE id = :id", id=payout_id)
    refusal = retry(world, payout_id)[payout_id]
    assert isinstance(refusal, NotPayable if obstacle == "inactive" else Conflict)
    assert world.statuses([payout_id]) == ["failed"]
