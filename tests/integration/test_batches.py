"""Batches: handed in without money, released once and whole, done with their last payout."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.batches import release as releasing
from shared.batches.create import ItemsRefused
from shared.batches.release import Released, release_due
from shared.errors import Conflict, InsufficientFunds, NotFound
from shared.models.payouts import PayoutStatus, Rail
from shared.payouts.cancel import cancel
from shared.payouts.queue import queue
from shared.payouts.retry import retry
from tests.integration.conftest import GRACE, World


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
        assert queue(connection, payout_ids, world.clock.now(), grace=GRACE).queued.rows == []
    world.assert_figures_right()


def test_a_release_reserves_all_and_a_second_one_changes_nothing(world: World) -> None:
    """The answer is the same, the money moves once."""
    batch, payout_ids = world.batch(45_000, 50_000, 40_000)
    first, second = world.release(batch.id), world.release(batch.id)
    assert isinstance(first, Released)
    assert isinstance(second, Released)
    assert sorted(first.payout_ids) == sorted(payout_ids)
    assert second.payout_ids == []
    assert first.batch == second.batch
    assert world.balances().in_transit_cents == 135_000
    assert world.statuses(payout_ids) == ["queued"] * 3
    assert events(world) == ["batch.released"]
    world.assert_ledger_right()


def test_concurrent_releases_release_once(world: World) -> None:
    """Eight at the same instant."""
    batch, payout_ids = world.batch(*[10_000] * 40)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: world.release(batch.id), range(8)))
    set_out = [payout_id for one in done if isinstance(one, Released) for payout_id in one.payout_ids]
    assert sorted(set_out) == sorted(payout_ids)
    assert world.balances().in_transit_cents == 400_000
    world.assert_ledger_right()


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
        cancel(connection, world.wallet_id, other, world.clock.now())
    assert isinstance(world.release(batch.id), Released)
    assert world.batch_status(batch.id) == "processing"
    world.assert_ledger_right()
    world.assert_figures_right()


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
    world.assert_figures_right()


def test_a_retry_of_its_payout_opens_an_ended_batch_again(world: World) -> None:
    """And it ends again with it."""
    batch, (first, second) = world.batch(45_000, 50_000)
    world.release(batch.id)
    world.end([first, second], PayoutStatus.FAILED)
    with world.engine.begin() as connection:
        retry(connection, world.wallet_id, [second], world.clock.now(), grace=GRACE)
    assert world.batch_status(batch.id) == "processing"
    world.end([second], PayoutStatus.COMPLETED)
    assert world.batch_status(batch.id) == "completed"
    world.assert_figures_right()
    world.assert_ledger_right()


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
    world.assert_figures_right()


def test_a_batch_whose_payouts_are_all_canceled_is_canceled(world: World) -> None:
    """And can't be released any more."""
    batch, payout_ids = world.batch(45_000, 50_000)
    with world.engine.begin() as connection:
        cancel(connection, world.wallet_id, payout_ids, world.clock.now())
    assert world.batch_status(batch.id) == "canceled"
    refused = world.release(batch.id)
    assert isinstance(refused, Conflict)
    assert refused.code == "BATCH_NOT_RELEASABLE"
    world.assert_figures_right()


def test_it_is_released_when_its_time_has_come_and_not_before(world: World) -> None:
    """By the database's clock, whatever ours says."""
    soon, _ = world.batch(45_000, scheduled_for=world.clock.now() + timedelta(hours=1))
    due, _ = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    world.clock.advance(days=1)
    with world.engine.begin() as connection:
        assert release_due(connection, soon.id, world.clock.now(), grace=GRACE) is None
        assert isinstance(release_due(connection, due.id, world.clock.now(), grace=GRACE), Released)
        assert release_due(connection, due.id, world.clock.now(), grace=GRACE) is None


def test_one_bad_payout_refuses_the_whole_batch(world: World) -> None:
    """Nothing is written; every item at fault is named."""
    good, unverified = world.driver(), world.driver("pending", "pending")
    with pytest.raises(ItemsRefused) as refused:
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
        assert releasing.waiting(connection, world.wallet_id) == [waiting.id]
        releasing.cancel(connection, world.wallet_id, waiting.id, world.clock.now())
    assert world.batch_status(waiting.id) == "canceled"
    assert world.batch_status(released.id) == "processing"
    world.assert_figures_right()


def test_figures_and_ledger_stand_while_everything_happens_at_once(world: World) -> None:
    """Payouts accepted, canceled, released and ended by many threads: no deadlock, nothing counted wrong."""
    drivers = [world.driver() for _ in range(5)]

    def single(number: int) -> None:
        [row] = world.accept(world.order(drivers[number % 5], 1_000 + number))
        assert not isinstance(row, Exception)
        with world.engine.begin() as connection:
            queue(connection, [row.id], world.clock.now(), grace=GRACE)
        world.end([row.id], PayoutStatus.COMPLETED if number % 3 else PayoutStatus.FAILED)

    def batched(number: int) -> None:
        batch, payout_ids = world.batch(*[2_000] * 5, driver_ids=drivers)
        with world.engine.begin() as connection:
            cancel(connection, world.wallet_id, payout_ids[:1], world.clock.now())
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
    world.assert_figures_right()
    world.assert_ledger_right()
