"""Batches: handed in without money, released once and whole, done with their last payout."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared import ledger
from shared.batches.cancel import cancel_queued_batches, load_unreleased_batches
from shared.batches.create import ItemsRejected
from shared.batches.release import release_queued_batches
from shared.batches.release_due import load_release_slices, release_due_batches
from shared.batches.reschedule import set_batch_schedule
from shared.batches.retry import retry_failed_payouts
from shared.batches.rows import BatchRef, ReleasedBatch, RetriedBatch
from shared.operations import due_rows
from shared.payouts.accept import accept_payouts
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.orders import load_order_context
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, InsufficientFunds, NotFound
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.polling import until
from tests.support.world import GRACE, World
from workers import batches as batch_actors
from workers.context import Context


def events(world: World) -> list[str]:
    """The events of the wallet's batches, in order."""
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
    # And no doorbell, late or repeated, moves them
    with world.engine.begin() as connection:
        assert queue_validated_payouts(connection, payout_ids, world.clock.now(), grace=GRACE).queued.rows == []
    world.assert_counters_match()


def test_a_release_reserves_all_and_a_second_one_changes_nothing(world: World) -> None:
    """The answer is the same, the money moves once."""
    batch, payout_ids = world.batch(45_000, 50_000, 40_000)
    first, second = world.release(batch.id), world.release(batch.id)
    assert isinstance(first, ReleasedBatch)
    assert isinstance(second, ReleasedBatch)
    assert sorted(first.payout_ids) == sorted(payout_ids)
    assert second.payout_ids == []
    assert first.batch == second.batch
    assert world.balances().in_transit_cents == 135_000
    assert world.statuses(payout_ids) == ["queued"] * 3
    assert events(world) == ["batch.released"]
    world.assert_ledger_consistent()


def test_concurrent_releases_release_once(world: World) -> None:
    """Eight at the same instant."""
    batch, payout_ids = world.batch(*[10_000] * 40)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: world.release(batch.id), range(8)))
    set_out = [payout_id for one in done if isinstance(one, ReleasedBatch) for payout_id in one.payout_ids]
    assert sorted(set_out) == sorted(payout_ids)
    assert world.balances().in_transit_cents == 400_000
    world.assert_ledger_consistent()


def test_too_little_money_fails_the_batch_and_moves_nothing(world: World) -> None:
    """It says what is missing, and can be released once the money is there."""
    batch, payout_ids = world.batch(45_000, 50_000)
    other = world.accepted(1, amount_cents=world.balances().available_cents - 94_999)
    refused = world.release(batch.id)
    assert isinstance(refused, InsufficientFunds)
    assert refused.details == {"available": 94_999, "required": 95_000, "missing": 1}
    assert world.batch_status(batch.id) == "failed"
    assert world.statuses(payout_ids) == ["validated"] * 2
    assert events(world) == ["batch.failed"]
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, other, world.clock.now())
    assert isinstance(world.release(batch.id), ReleasedBatch)
    assert world.batch_status(batch.id) == "processing"
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_asked_for_before_its_time_it_stays_queued_where_money_is_missing(world: World) -> None:
    """And is released at its time, funded or not."""
    batch, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    world.leave_available(100)
    assert isinstance(world.release(batch.id), InsufficientFunds)
    assert world.batch_status(batch.id) == "queued"
    assert world.rows("SELECT next_action_at IS NOT NULL FROM batches WHERE id = :id", id=batch.id) == [(True,)]


def test_another_wallets_batch_is_unknown_and_not_locked(world: World, engine: sa.Engine) -> None:
    """Its payouts can go on meanwhile."""
    batch, _ = world.batch(45_000)
    stranger = World(engine)
    assert isinstance(stranger.release(batch.id), NotFound)
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
    """Completed if one was paid, else failed; in the transaction of the last payout's end."""
    batch, (first, second) = world.batch(45_000, 50_000)
    world.release(batch.id)
    world.end([first], ends[0])
    assert world.batch_status(batch.id) == "processing"
    world.end([second], ends[1])
    assert world.batch_status(batch.id) == becomes
    assert events(world) == ["batch.released", event]
    world.assert_counters_match()


def test_a_retry_of_its_payout_opens_an_ended_batch_again(world: World) -> None:
    """And it ends again with it."""
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


def test_a_driver_switched_off_before_the_release_is_left_out(world: World) -> None:
    """His payout is canceled and says why; the others are paid."""
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
    """And can't be released any more."""
    batch, payout_ids = world.batch(45_000, 50_000)
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids, world.clock.now())
    assert world.batch_status(batch.id) == "canceled"
    refused = world.release(batch.id)
    assert isinstance(refused, Conflict)
    assert refused.code == "BATCH_NOT_RELEASABLE"
    world.assert_counters_match()


def test_it_is_released_when_its_time_has_come_and_not_before(world: World) -> None:
    """By the database's clock, whatever ours says."""
    soon, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    now_due, _ = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    world.clock.advance(days=1)
    ids = [soon.id, now_due.id]
    with world.engine.begin() as connection:
        assert list(release_due_batches(connection, ids, world.clock.now(), grace=GRACE)) == [now_due.id]
        assert release_due_batches(connection, ids, world.clock.now(), grace=GRACE) == {}
    assert (world.batch_status(soon.id), world.batch_status(now_due.id)) == ("queued", "processing")


def test_after_ten_minutes_without_a_scheduler_each_batch_is_released_once(world: World) -> None:
    """Three schedulers come back at the same instant, and a worker of each hears of every batch."""
    long_due = world.clock.now() - timedelta(minutes=10)
    batches = [world.batch(1_000, 2_000, scheduled_for=long_due + timedelta(seconds=n)) for n in range(12)]
    ids = [batch.id for batch, _ in batches]

    def scheduler(_: int) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
        with world.engine.begin() as connection:
            claimed = due_rows.claim_due_rows(connection, due_rows.BATCH_KIND, limit=500, again_seconds=10).ids
        with world.engine.begin() as connection:
            done = release_due_batches(connection, ids, world.clock.now(), grace=GRACE)
        return claimed, [one for got in done.values() if isinstance(got, ReleasedBatch) for one in got.payout_ids]

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(scheduler, range(3)))
    claimed = [one for got, _ in done for one in got if one in ids]
    assert sorted(claimed) == sorted(ids)
    assert sorted(one for _, got in done for one in got) == sorted(one for _, payouts in batches for one in payouts)
    assert {world.batch_status(batch_id) for batch_id in ids} == {"processing"}
    assert [name for name in events(world) if name == "batch.released"] == ["batch.released"] * 12
    world.assert_ledger_consistent()


def test_a_batch_moved_while_its_release_waits_is_not_released(world: World) -> None:
    """The customer was told that it goes next week: whoever read before that it was due looks again."""
    batch, payout_ids = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    next_week = world.clock.now() + timedelta(days=7)
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            releasing = pool.submit(released_when_due, world, batch.id)
            until(lambda: somebody_waits(world), "the release waits for the wallet")
            with world.engine.begin() as connection:
                moved = set_batch_schedule(connection, world.wallet_id, batch.id, next_week)
            assert not isinstance(moved, Exception)
        assert releasing.result() == {}
    assert world.batch_status(batch.id) == "queued"
    assert world.statuses(payout_ids) == ["validated"]
    assert world.balances().in_transit_cents == 0
    assert events(world) == []


def test_money_that_goes_while_a_release_waits_is_not_spent_twice(world: World) -> None:
    """The batch was covered when its payouts were written ahead, and is not when the wallet is locked: none has moved,
    and nothing of what was written stays.
    """
    batch, payout_ids = world.batch(40_000, 50_000)
    order = world.order(world.driver(), 20_000)
    world.leave_available(100_000)

    def spend(holder: sa.Connection) -> None:
        known, available = load_order_context(holder, [order]), ledger.lock_wallets(holder, [world.wallet_id])
        [row] = accept_payouts(holder, [order], known, available, world.clock.now(), grace=GRACE)
        assert isinstance(row, PayoutRow)

    outcome = released_meanwhile(world, batch.id, spend)
    assert isinstance(outcome, InsufficientFunds)
    assert outcome.details == {"available": 80_000, "required": 90_000, "missing": 10_000}
    assert world.statuses(payout_ids) == ["validated", "validated"]
    assert steps_of(world, payout_ids) == 2
    assert world.balances().available_cents == 80_000
    world.assert_ledger_consistent()


def test_money_that_comes_while_a_release_waits_is_there_for_it(world: World) -> None:
    """The batch was not covered before; it is released whole, once."""
    batch, payout_ids = world.batch(40_000, 50_000)
    [other] = world.accepted(1, amount_cents=20_000)
    world.leave_available(80_000)
    outcome = released_meanwhile(
        world, batch.id, lambda holder: cancel_wallet_payouts(holder, world.wallet_id, [other], world.clock.now())
    )
    assert isinstance(outcome, ReleasedBatch)
    assert sorted(outcome.payout_ids) == sorted(payout_ids)
    assert world.statuses(payout_ids) == ["queued", "queued"]
    assert steps_of(world, payout_ids) == 4
    assert world.balances().available_cents == 10_000
    world.assert_ledger_consistent()


def released_meanwhile(world: World, batch_id: uuid.UUID, happens: Callable[[sa.Connection], object]) -> object:
    """What a release says that waits for the wallet while something happens there."""
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            releasing = pool.submit(world.release, batch_id)
            until(lambda: somebody_waits(world), "the release waits for the wallet")
            happens(holder)
        return releasing.result()


def steps_of(world: World, payout_ids: list[uuid.UUID]) -> int:
    """How many steps they have taken, together."""
    [(count,)] = world.rows("SELECT count(*) FROM payout_transitions WHERE payout_id = ANY(:ids)", ids=payout_ids)
    return int(str(count))


def released_when_due(world: World, batch_id: uuid.UUID) -> dict[uuid.UUID, object]:
    """What a worker does that was rung for it."""
    with world.engine.begin() as connection:
        return dict(release_due_batches(connection, [batch_id], world.clock.now(), grace=GRACE))


def somebody_waits(world: World) -> bool:
    """Whether a transaction waits for a row lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return world.rows(waiting) != [(0,)]


def test_a_batch_that_cannot_be_released_holds_up_no_other(world: World, settings: Settings) -> None:
    """Given one whose wallet is held, and another wallet's that is due as well: the other one goes."""
    held, other = world, World(world.engine)
    long_due = world.clock.now() - timedelta(seconds=2)
    stuck, _ = held.batch(45_000, scheduled_for=long_due)
    fine, _ = other.batch(45_000, scheduled_for=long_due + timedelta(seconds=1))
    impatient = sa.create_engine(
        sa.make_url(settings.database_url).set(drivername="postgresql+psycopg"),
        connect_args={"options": "-c timezone=UTC -c lock_timeout=200ms"},
    )
    task_sender = TaskSender(settings)
    paystream = PaystreamClient(settings, CallBudget(settings, impatient))
    context = Context(settings, impatient, task_sender, paystream, world.clock)
    with world.engine.begin() as holder:
        ledger.lock_wallets(holder, [held.wallet_id])
        batch_actors.release_batches(context, [stuck.id, fine.id])
        assert other.batch_status(fine.id) == "processing"
    assert held.batch_status(stuck.id) == "queued"
    batch_actors.release_batches(context, [stuck.id, fine.id])
    assert held.batch_status(stuck.id) == "processing"
    context.close()


def test_batches_released_together_take_their_money_in_order(world: World) -> None:
    """Of three, the wallet covers the first and the third: the second alone fails, and says what was left."""
    first, _ = world.batch(40_000)
    second, _ = world.batch(50_000)
    third, _ = world.batch(5_000, 5_000)
    world.leave_available(80_000)
    with world.engine.begin() as connection:
        asked = [BatchRef(one.id, world.wallet_id) for one in (first, second, third)]
        done = release_queued_batches(
            connection, asked, world.clock.now(), by={world.wallet_id: world.actor}, grace=GRACE
        )
    assert isinstance(done[first.id], ReleasedBatch)
    refused = done[second.id]
    assert isinstance(refused, InsufficientFunds)
    assert refused.details == {"available": 40_000, "required": 50_000, "missing": 10_000}
    assert isinstance(done[third.id], ReleasedBatch)
    assert [world.batch_status(one.id) for one in (first, second, third)] == ["processing", "failed", "processing"]
    assert world.balances().available_cents == 30_000
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_batches_of_two_wallets_are_released_together_and_never_mixed(world: World, engine: sa.Engine) -> None:
    """One statement for both; a batch asked for in the other's name is unknown."""
    stranger = World(engine)
    mine, _ = world.batch(40_000)
    theirs, _ = stranger.batch(50_000)
    by = {one.wallet_id: one.actor for one in (world, stranger)}
    with engine.begin() as connection:
        wrong = [BatchRef(mine.id, stranger.wallet_id)]
        assert isinstance(
            release_queued_batches(connection, wrong, world.clock.now(), by=by, grace=GRACE)[mine.id], NotFound
        )
    with engine.begin() as connection:
        asked = [BatchRef(mine.id, world.wallet_id), BatchRef(theirs.id, stranger.wallet_id)]
        release_queued_batches(connection, asked, world.clock.now(), by=by, grace=GRACE)
    assert (world.balances().in_transit_cents, stranger.balances().in_transit_cents) == (40_000, 50_000)
    world.assert_ledger_consistent()


def test_a_transaction_releases_at_most_so_many_payouts(world: World) -> None:
    """In the order of their times; a batch that is larger goes alone."""
    hour = world.clock.now() + timedelta(hours=1)
    small = [world.batch(1_000, 1_000, scheduled_for=hour + timedelta(seconds=n))[0].id for n in range(3)]
    large = world.batch(*[1_000] * 6, scheduled_for=hour + timedelta(minutes=1))[0].id
    with world.engine.connect() as connection:
        groups = load_release_slices(connection, [large, *reversed(small)], payouts_max=4)
    assert groups == [small[:2], small[2:], [large]]


def test_a_canceled_batch_takes_its_payouts_with_it(world: World) -> None:
    """And can't be released, canceled or rescheduled any more."""
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


def test_release_and_cancel_at_once_do_one_of_the_two(world: World) -> None:
    """Whoever locks the payouts first decides; never half of each."""
    for _ in range(10):
        batch, payout_ids = world.batch(*[1_000] * 5)

        def call_off(batch_id: uuid.UUID = batch.id) -> None:
            with world.engine.begin() as connection:
                cancel_queued_batches(connection, [BatchRef(batch_id, world.wallet_id)], world.clock.now())

        with ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(world.release, batch.id), pool.submit(call_off)]
            for task in tasks:
                task.result()
        assert set(world.statuses(payout_ids)) in ({"queued"}, {"canceled"})
        assert world.batch_status(batch.id) in ("processing", "canceled")
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_a_batch_gets_another_time_or_none(world: World) -> None:
    """Due when it says so now; a batch that lacked money waits again."""
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


def test_what_failed_in_a_batch_is_tried_again_as_far_as_money_goes(world: World) -> None:
    """In the order of the file; what was paid is left alone."""
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


def test_one_bad_payout_refuses_the_whole_batch(world: World) -> None:
    """Nothing is written; every item at fault is named."""
    good, unverified = world.driver(), world.driver("pending", "pending")
    with pytest.raises(ItemsRejected) as refused:
        world.batch(45_000, 45_000, 100_000_001, driver_ids=[good, unverified, good])
    assert (refused.value.status, refused.value.code) == (422, "KYC_PENDING")
    assert [(item["index"], item["code"]) for item in refused.value.details["items"]] == [
        (1, "KYC_PENDING"),
        (2, "VALIDATION_ERROR"),
    ]
    assert world.rows("SELECT id FROM payouts WHERE wallet_id = :id", id=world.wallet_id) == []
    assert world.rows("SELECT id FROM batches WHERE wallet_id = :id", id=world.wallet_id) == []


def test_a_sandbox_reset_calls_off_what_waits(world: World) -> None:
    """Released batches go on; those that wait, or could not be released, are canceled."""
    waiting, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(days=1))
    released, _ = world.batch(45_000)
    world.release(released.id)
    with world.engine.begin() as connection:
        assert load_unreleased_batches(connection, world.wallet_id) == [BatchRef(waiting.id, world.wallet_id)]
        cancel_queued_batches(connection, load_unreleased_batches(connection, world.wallet_id), world.clock.now())
    assert world.batch_status(waiting.id) == "canceled"
    assert world.batch_status(released.id) == "processing"
    world.assert_counters_match()


def test_figures_and_ledger_stand_while_everything_happens_at_once(world: World) -> None:
    """Payouts accepted, canceled, released and ended by many threads: no deadlock, nothing counted wrong."""
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
