"""Batches: creation reserves nothing, and a batch ends with its last payout."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.batches.cancel import cancel_queued_batches, load_unreleased_batches
from shared.batches.create import ItemsRejected
from shared.batches.reschedule import set_batch_schedule
from shared.batches.retry import retry_failed_payouts
from shared.batches.rows import BatchRef, RetriedBatch
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.platform.errors import Conflict, InsufficientFunds, NotFound
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.world import GRACE, World


def event_types(world: World) -> list[str]:
    """Return the types of the batch events of the wallet, in order."""
    found = world.rows(
        "SELECT type FROM customer_events WHERE wallet_id = :id AND payout_id IS NULL ORDER BY id", id=world.wallet_id
    )
    return [str(row[0]) for row in found]


def test_a_new_batch_reserves_nothing_and_costs_the_batch_price(world: World) -> None:
    """The reference's sample: 135000 with fees of 675."""
    before = world.balances()
    batch, payout_ids = world.batch(45_000, 50_000, 40_000)
    assert (batch.payout_count, batch.amount_cents, batch.fee_cents, batch.status) == (3, 135_000, 675, "queued")
    assert world.statuses(payout_ids) == ["validated"] * 3
    assert world.balances() == before
    # And a late or repeated wake-up does not queue them
    with world.engine.begin() as connection:
        assert queue_validated_payouts(connection, payout_ids, world.clock.now(), grace=GRACE).queued.rows == []
    world.assert_counters_match()


def test_a_batch_of_another_wallet_is_not_found(world: World, engine: sa.Engine) -> None:
    batch, _ = world.batch(45_000)
    other_wallet = World(engine)
    assert isinstance(other_wallet.release(batch.id), NotFound)
    assert world.batch_status(batch.id) == "queued"


@pytest.mark.parametrize(
    ("ends", "becomes", "event"),
    [
        ((PayoutStatus.COMPLETED, PayoutStatus.FAILED), "completed", "batch.completed"),
        ((PayoutStatus.FAILED, PayoutStatus.FAILED), "failed", "batch.failed"),
    ],
)
def test_a_batch_ends_with_its_last_payout(
    world: World, ends: tuple[PayoutStatus, PayoutStatus], becomes: str, event: str
) -> None:
    """Completed if a payout was paid, else failed; in the transaction of the last payout."""
    batch, (first, second) = world.batch(45_000, 50_000)
    world.release(batch.id)
    world.end([first], ends[0])
    assert world.batch_status(batch.id) == "processing"
    world.end([second], ends[1])
    assert world.batch_status(batch.id) == becomes
    assert event_types(world) == ["batch.released", event]
    world.assert_counters_match()


def test_a_retried_payout_reopens_its_batch(world: World) -> None:
    batch, (first, second) = world.batch(45_000, 50_000)
    world.release(batch.id)
    world.end([first, second], PayoutStatus.FAILED)
    with world.engine.begin() as connection:
        retry_wallet_payouts(connection, world.wallet_id, [second], world.clock.now(), grace=GRACE)
    assert world.batch_status(batch.id) == "processing"
    world.end([second], PayoutStatus.COMPLETED)
    assert world.batch_status(batch.id) == "completed"
    world.assert_counters_match()
    world.assert_ledger_consistent()


def test_a_payout_to_an_inactive_driver_is_canceled_by_the_release(world: World) -> None:
    batch, (first, second) = world.batch(45_000, 50_000)
    world.execute(
        "UPDATE drivers SET status = 'inactive' WHERE id = (SELECT driver_id FROM payouts WHERE id = :id)", id=first
    )
    world.release(batch.id)
    assert world.statuses([first, second]) == ["canceled", "queued"]
    assert world.balances().in_transit_cents == 50_000
    world.end([second], PayoutStatus.COMPLETED)
    assert world.batch_status(batch.id) == "completed"
    world.assert_counters_match()


def test_a_batch_whose_payouts_are_all_canceled_is_canceled(world: World) -> None:
    batch, payout_ids = world.batch(45_000, 50_000)
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now())
    assert world.batch_status(batch.id) == "canceled"
    rejected = world.release(batch.id)
    assert isinstance(rejected, Conflict)
    assert rejected.code == "BATCH_NOT_RELEASABLE"
    world.assert_counters_match()


def test_a_canceled_batch_cancels_its_payouts(world: World) -> None:
    """It can't be released, canceled or rescheduled any more."""
    batch, payout_ids = world.batch(45_000, 50_000)
    asked = [BatchRef(batch.id, world.wallet_id)]
    with world.engine.begin() as connection:
        done = cancel_queued_batches(connection, asked, world.clock.now())[batch.id]
    assert not isinstance(done, Exception)
    assert (done.status, done.canceled_at) == ("canceled", world.clock.now())
    assert world.statuses(payout_ids) == ["canceled"] * 2
    with world.engine.begin() as connection:
        again = cancel_queued_batches(connection, asked, world.clock.now())[batch.id]
        moved = set_batch_schedule(connection, world.wallet_id, batch.id, None)
    assert isinstance(again, Conflict)
    assert again.code == "BATCH_NOT_CANCELABLE"
    assert isinstance(moved, Conflict)
    assert moved.code == "BATCH_NOT_RESCHEDULABLE"
    assert isinstance(world.release(batch.id), Conflict)
    world.assert_counters_match()


def test_a_batch_can_be_rescheduled(world: World) -> None:
    """A batch that failed for lack of money is queued again."""
    batch, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    later = world.clock.now() + timedelta(hours=2)
    with world.engine.begin() as connection:
        moved = set_batch_schedule(connection, world.wallet_id, batch.id, later)
    assert not isinstance(moved, Exception)
    assert moved.scheduled_for == later
    due_query = "SELECT next_action_at FROM batches WHERE id = :id"
    assert world.rows(due_query, id=batch.id) == [(later,)]
    with world.engine.begin() as connection:
        set_batch_schedule(connection, world.wallet_id, batch.id, None)
    assert world.rows(due_query, id=batch.id) == [(None,)]
    world.leave_available(100)
    assert isinstance(world.release(batch.id), InsufficientFunds)
    assert world.batch_status(batch.id) == "failed"
    with world.engine.begin() as connection:
        moved = set_batch_schedule(connection, world.wallet_id, batch.id, later)
    assert not isinstance(moved, Exception)
    assert (moved.status, moved.failure_code) == ("queued", None)


def test_failed_payouts_are_retried_as_far_as_the_balance_covers_them(world: World) -> None:
    """In the order of the request; paid ones stay."""
    batch, (first, second, third) = world.batch(10_000, 20_000, 30_000)
    world.release(batch.id)
    world.end([first], PayoutStatus.COMPLETED)
    world.end([second, third], PayoutStatus.FAILED)
    world.leave_available(40_000)
    with world.engine.begin() as connection:
        done = retry_failed_payouts(connection, world.wallet_id, batch.id, world.clock.now(), grace=GRACE)
    assert isinstance(done, RetriedBatch)
    assert list(done.answers) == [second, third]
    assert isinstance(done.answers[third], InsufficientFunds)
    assert done.batch.status == "processing"
    assert world.statuses([first, second, third]) == ["completed", "queued", "failed"]
    world.end([second], PayoutStatus.COMPLETED)
    assert world.batch_status(batch.id) == "completed"
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_one_invalid_payout_rejects_the_whole_batch(world: World) -> None:
    """Nothing is stored; the error lists every invalid item."""
    good, unverified = world.driver(), world.driver("pending", "pending")
    with pytest.raises(ItemsRejected) as rejected:
        world.batch(45_000, 45_000, 100_000_001, driver_ids=[good, unverified, good])
    assert (rejected.value.status, rejected.value.code) == (422, "KYC_PENDING")
    assert [(item["index"], item["code"]) for item in rejected.value.details["items"]] == [
        (1, "KYC_PENDING"),
        (2, "VALIDATION_ERROR"),
    ]
    assert world.rows("SELECT id FROM payouts WHERE wallet_id = :id", id=world.wallet_id) == []
    assert world.rows("SELECT id FROM batches WHERE wallet_id = :id", id=world.wallet_id) == []


def test_a_sandbox_reset_cancels_unreleased_batches(world: World) -> None:
    waiting, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(days=1))
    released, _ = world.batch(45_000)
    world.release(released.id)
    with world.engine.begin() as connection:
        assert load_unreleased_batches(connection, world.wallet_id) == [BatchRef(waiting.id, world.wallet_id)]
        cancel_queued_batches(connection, load_unreleased_batches(connection, world.wallet_id), world.clock.now())
    assert world.batch_status(waiting.id) == "canceled"
    assert world.batch_status(released.id) == "processing"
    world.assert_counters_match()


def test_counters_and_ledger_stay_consistent_under_concurrent_changes(world: World) -> None:
    """Many threads accept, cancel, release and end payouts; there is no deadlock."""
    drivers = [world.driver() for _ in range(5)]

    def single(number: int) -> None:
        [row] = world.accept(world.order(drivers[number % 5], 1_000 + number))
        assert not isinstance(row, Exception)
        with world.engine.begin() as connection:
            queue_validated_payouts(connection, [row.id], world.clock.now(), grace=GRACE)
        world.end([row.id], PayoutStatus.COMPLETED if number % 3 else PayoutStatus.FAILED)

    def batched(number: int) -> None:
        batch, payout_ids = world.batch(*[2_000] * 5, driver_ids=drivers)
        with world.engine.begin() as connection:
            cancel_wallet_payouts(connection, world.wallet_id, payout_ids[:1], world.clock.now())
        world.release(batch.id)
        world.end(payout_ids[:3], PayoutStatus.FAILED)
        world.end(payout_ids[3:], PayoutStatus.COMPLETED)
        assert world.batch_status(batch.id) == "completed"

    def instant(number: int) -> None:
        world.accept(world.order(drivers[number % 5], 3_000, Rail.INSTANT))

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(work, number) for number in range(25) for work in (single, batched, instant)]
        for task in tasks:
            task.result()
    world.assert_counters_match()
    world.assert_ledger_consistent()
