"""Release of batches: all or nothing, once, in order, by hand or at the scheduled time."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import sqlalchemy as sa

from shared import ledger
from shared.batches.cancel import cancel_queued_batches
from shared.batches.release import release_queued_batches
from shared.batches.release_due import load_release_slices, release_due_batches
from shared.batches.reschedule import set_batch_schedule
from shared.batches.rows import BatchRef, ReleasedBatch
from shared.operations import due_rows
from shared.payouts.accept import accept_payouts
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.orders import load_order_context
from shared.payouts.rows import PayoutRow
from shared.platform.errors import InsufficientFunds, NotFound
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from tests.support.polling import until
from tests.support.world import GRACE, World
from workers import batches as batch_actors
from workers.context import Context


def event_types(world: World) -> list[str]:
    """Return the types of the batch events of the wallet, in order."""
    found = world.rows(
        "SELECT type FROM customer_events WHERE wallet_id = :id AND payout_id IS NULL ORDER BY id", id=world.wallet_id
    )
    return [str(row[0]) for row in found]


def test_a_second_release_changes_nothing(world: World) -> None:
    batch, payout_ids = world.batch(45_000, 50_000, 40_000)
    first, second = world.release(batch.id), world.release(batch.id)
    assert isinstance(first, ReleasedBatch)
    assert isinstance(second, ReleasedBatch)
    assert sorted(first.payout_ids) == sorted(payout_ids)
    assert second.payout_ids == []
    assert first.batch == second.batch
    assert world.balances().in_transit_cents == 135_000
    assert world.statuses(payout_ids) == ["queued"] * 3
    assert event_types(world) == ["batch.released"]
    world.assert_ledger_consistent()


def test_concurrent_releases_release_once(world: World) -> None:
    batch, payout_ids = world.batch(*[10_000] * 40)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: world.release(batch.id), range(8)))
    set_out = [payout_id for one in done if isinstance(one, ReleasedBatch) for payout_id in one.payout_ids]
    assert sorted(set_out) == sorted(payout_ids)
    assert world.balances().in_transit_cents == 400_000
    world.assert_ledger_consistent()


def test_an_uncovered_batch_fails_and_can_be_released_later(world: World) -> None:
    """The error has the missing amount."""
    batch, payout_ids = world.batch(45_000, 50_000)
    other = world.accepted(1, amount_cents=world.balances().available_cents - 94_999)
    rejected = world.release(batch.id)
    assert isinstance(rejected, InsufficientFunds)
    assert rejected.details == {"available": 94_999, "required": 95_000, "missing": 1}
    assert world.batch_status(batch.id) == "failed"
    assert world.statuses(payout_ids) == ["validated"] * 2
    assert event_types(world) == ["batch.failed"]
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, other, world.clock.now())
    assert isinstance(world.release(batch.id), ReleasedBatch)
    assert world.batch_status(batch.id) == "processing"
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_an_uncovered_batch_released_early_stays_queued(world: World) -> None:
    """It is released at its scheduled time."""
    batch, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    world.leave_available(100)
    assert isinstance(world.release(batch.id), InsufficientFunds)
    assert world.batch_status(batch.id) == "queued"
    assert world.rows("SELECT next_action_at IS NOT NULL FROM batches WHERE id = :id", id=batch.id) == [(True,)]


def test_a_batch_is_released_at_its_time_by_the_databases_clock(world: World) -> None:
    soon, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    now_due, _ = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    world.clock.advance(days=1)
    ids = [soon.id, now_due.id]
    with world.engine.begin() as connection:
        assert list(release_due_batches(connection, ids, world.clock.now(), grace=GRACE)) == [now_due.id]
        assert release_due_batches(connection, ids, world.clock.now(), grace=GRACE) == {}
    assert (world.batch_status(soon.id), world.batch_status(now_due.id)) == ("queued", "processing")


def test_overdue_batches_are_released_once_by_concurrent_schedulers(world: World) -> None:
    """Three schedulers start at once, ten minutes late, and a worker of each releases every batch."""
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
    assert [name for name in event_types(world) if name == "batch.released"] == ["batch.released"] * 12
    world.assert_ledger_consistent()


def test_a_batch_rescheduled_while_its_release_waits_is_not_released(world: World) -> None:
    batch, payout_ids = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    next_week = world.clock.now() + timedelta(days=7)
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            releasing = pool.submit(release_if_due, world, batch.id)
            until(lambda: is_lock_awaited(world), "the release waits for the wallet")
            with world.engine.begin() as connection:
                moved = set_batch_schedule(connection, world.wallet_id, batch.id, next_week)
            assert not isinstance(moved, Exception)
        assert releasing.result() == {}
    assert world.batch_status(batch.id) == "queued"
    assert world.statuses(payout_ids) == ["validated"]
    assert world.balances().in_transit_cents == 0
    assert event_types(world) == []


def test_money_spent_while_a_release_waits_is_not_spent_twice(world: World) -> None:
    """The payouts were written before the wallet was locked; that is rolled back."""
    batch, payout_ids = world.batch(40_000, 50_000)
    order = world.order(world.driver(), 20_000)
    world.leave_available(100_000)

    def spend(holder: sa.Connection) -> None:
        known, available = load_order_context(holder, [order]), ledger.lock_wallets(holder, [world.wallet_id])
        [row] = accept_payouts(holder, [order], known, available, world.clock.now(), grace=GRACE)
        assert isinstance(row, PayoutRow)

    outcome = release_while(world, batch.id, spend)
    assert isinstance(outcome, InsufficientFunds)
    assert outcome.details == {"available": 80_000, "required": 90_000, "missing": 10_000}
    assert world.statuses(payout_ids) == ["validated", "validated"]
    assert count_transitions(world, payout_ids) == 2
    assert world.balances().available_cents == 80_000
    world.assert_ledger_consistent()


def test_money_returned_while_a_release_waits_is_used(world: World) -> None:
    batch, payout_ids = world.batch(40_000, 50_000)
    [other] = world.accepted(1, amount_cents=20_000)
    world.leave_available(80_000)
    outcome = release_while(
        world, batch.id, lambda holder: cancel_wallet_payouts(holder, world.wallet_id, [other], world.clock.now())
    )
    assert isinstance(outcome, ReleasedBatch)
    assert sorted(outcome.payout_ids) == sorted(payout_ids)
    assert world.statuses(payout_ids) == ["queued", "queued"]
    assert count_transitions(world, payout_ids) == 4
    assert world.balances().available_cents == 10_000
    world.assert_ledger_consistent()


def release_while(world: World, batch_id: uuid.UUID, change: Callable[[sa.Connection], object]) -> object:
    """Release the batch; run `change` while the release waits for the wallet. Return the result of the release."""
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            releasing = pool.submit(world.release, batch_id)
            until(lambda: is_lock_awaited(world), "the release waits for the wallet")
            change(holder)
        return releasing.result()


def count_transitions(world: World, payout_ids: list[uuid.UUID]) -> int:
    [(count,)] = world.rows("SELECT count(*) FROM payout_transitions WHERE payout_id = ANY(:ids)", ids=payout_ids)
    return int(str(count))


def release_if_due(world: World, batch_id: uuid.UUID) -> dict[uuid.UUID, object]:
    with world.engine.begin() as connection:
        return dict(release_due_batches(connection, [batch_id], world.clock.now(), grace=GRACE))


def is_lock_awaited(world: World) -> bool:
    """Return whether a transaction waits for a row lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return world.rows(waiting) != [(0,)]


def test_a_blocked_batch_delays_no_other(world: World, settings: Settings) -> None:
    """The first batch belongs to a locked wallet, the second to another one."""
    locked, other = world, World(world.engine)
    long_due = world.clock.now() - timedelta(seconds=2)
    stuck, _ = locked.batch(45_000, scheduled_for=long_due)
    fine, _ = other.batch(45_000, scheduled_for=long_due + timedelta(seconds=1))
    short_timeout = sa.create_engine(
        sa.make_url(settings.database_url).set(drivername="postgresql+psycopg"),
        connect_args={"options": "-c timezone=UTC -c lock_timeout=200ms"},
    )
    task_sender = TaskSender(settings)
    paystream = PaystreamClient(settings, CallBudget(settings, short_timeout))
    context = Context(settings, short_timeout, task_sender, paystream, world.clock)
    with world.engine.begin() as holder:
        ledger.lock_wallets(holder, [locked.wallet_id])
        batch_actors.release_batches(context, [stuck.id, fine.id])
        assert other.batch_status(fine.id) == "processing"
    assert locked.batch_status(stuck.id) == "queued"
    batch_actors.release_batches(context, [stuck.id, fine.id])
    assert locked.batch_status(stuck.id) == "processing"
    context.close()


def test_batches_released_together_reserve_money_in_order(world: World) -> None:
    """The wallet covers the first and the third of three batches."""
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
    rejected = done[second.id]
    assert isinstance(rejected, InsufficientFunds)
    assert rejected.details == {"available": 40_000, "required": 50_000, "missing": 10_000}
    assert isinstance(done[third.id], ReleasedBatch)
    assert [world.batch_status(one.id) for one in (first, second, third)] == ["processing", "failed", "processing"]
    assert world.balances().available_cents == 30_000
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_batches_of_two_wallets_can_be_released_together(world: World, engine: sa.Engine) -> None:
    """A batch requested for the other wallet is not found."""
    other_wallet = World(engine)
    mine, _ = world.batch(40_000)
    its_batch, _ = other_wallet.batch(50_000)
    by = {one.wallet_id: one.actor for one in (world, other_wallet)}
    with engine.begin() as connection:
        wrong = [BatchRef(mine.id, other_wallet.wallet_id)]
        assert isinstance(
            release_queued_batches(connection, wrong, world.clock.now(), by=by, grace=GRACE)[mine.id], NotFound
        )
    with engine.begin() as connection:
        asked = [BatchRef(mine.id, world.wallet_id), BatchRef(its_batch.id, other_wallet.wallet_id)]
        release_queued_batches(connection, asked, world.clock.now(), by=by, grace=GRACE)
    assert (world.balances().in_transit_cents, other_wallet.balances().in_transit_cents) == (40_000, 50_000)
    world.assert_ledger_consistent()


def test_release_slices_have_a_maximum_number_of_payouts(world: World) -> None:
    """In the order of the scheduled times; a larger batch has a slice of its own."""
    hour = world.clock.now() + timedelta(hours=1)
    small = [world.batch(1_000, 1_000, scheduled_for=hour + timedelta(seconds=n))[0].id for n in range(3)]
    large = world.batch(*[1_000] * 6, scheduled_for=hour + timedelta(minutes=1))[0].id
    with world.engine.connect() as connection:
        groups = load_release_slices(connection, [large, *reversed(small)], payouts_max=4)
    assert groups == [small[:2], small[2:], [large]]


def test_concurrent_release_and_cancel_do_one_of_the_two(world: World) -> None:
    """The transaction that locks the payouts first wins."""
    for _ in range(10):
        batch, payout_ids = world.batch(*[1_000] * 5)

        def cancel(batch_id: uuid.UUID = batch.id) -> None:
            with world.engine.begin() as connection:
                cancel_queued_batches(connection, [BatchRef(batch_id, world.wallet_id)], world.clock.now())

        with ThreadPoolExecutor(2) as pool:
            tasks = [pool.submit(world.release, batch.id), pool.submit(cancel)]
            for task in tasks:
                task.result()
        assert set(world.statuses(payout_ids)) in ({"queued"}, {"canceled"})
        assert world.batch_status(batch.id) in ("processing", "canceled")
    world.assert_ledger_consistent()
    world.assert_counters_match()
