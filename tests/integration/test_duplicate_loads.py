"""Duplicate loads: recognized on every path, and under concurrency."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.batches.create import ItemsRejected, NewBatch, insert_batch
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, DomainError
from shared.platform.ids import new_id
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.world import GRACE, World


@pytest.fixture
def driver(world: World) -> uuid.UUID:
    """A driver of the world."""
    return world.driver()


@pytest.fixture
def refusing(world: World) -> World:
    """A world whose wallet refuses duplicates."""
    world.execute("UPDATE wallets SET duplicate_loads = 'refuse' WHERE id = :id", id=world.wallet_id)
    return world


def order_for_load(world: World, driver: uuid.UUID, load_id: str = "L-1") -> PayoutOrder:
    """An order for a load."""
    return world.order(driver)._replace(load_id=load_id)


def accepted_row(answer: PayoutRow | DomainError) -> PayoutRow:
    """The payout of an outcome that must be one."""
    assert isinstance(answer, PayoutRow)
    return answer


def test_duplicate_is_accepted_and_names_the_first(world: World, driver: uuid.UUID) -> None:
    """By default; another driver, another load or no load is no duplicate."""
    first = accepted_row(world.accept(order_for_load(world, driver))[0])
    answers = world.accept(
        order_for_load(world, driver),
        order_for_load(world, driver, "L-2"),
        order_for_load(world, world.driver()),
        world.order(driver),
        world.order(driver),
        order_for_load(world, driver, "L-2"),
    )
    duplicate_of_each = [accepted_row(answer).duplicate_of for answer in answers]
    assert duplicate_of_each == [first.id, None, None, None, None, accepted_row(answers[1]).id]


@pytest.mark.parametrize("end", [PayoutStatus.COMPLETED, PayoutStatus.FAILED])
def test_only_a_live_payout_makes_the_next_a_duplicate(refusing: World, driver: uuid.UUID, end: PayoutStatus) -> None:
    """A completed payout is live, a failed one is not."""
    first = accepted_row(refusing.accept(order_for_load(refusing, driver))[0])
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, [first.id], refusing.clock.now(), grace=GRACE)
    refusing.end([first.id], end)
    [second] = refusing.accept(order_for_load(refusing, driver))
    assert isinstance(second, Conflict) is (end is PayoutStatus.COMPLETED)


def test_duplicate_is_refused_unless_allowed(refusing: World, driver: uuid.UUID) -> None:
    """An allowed duplicate keeps its reason."""
    first = accepted_row(refusing.accept(order_for_load(refusing, driver))[0])
    allowed = order_for_load(refusing, driver)._replace(allow_duplicate=True, duplicate_reason="detention pay")
    refused, made = refusing.accept(order_for_load(refusing, driver), allowed)
    assert isinstance(refused, Conflict)
    assert refused.code == "DUPLICATE_PAYOUT"
    assert (accepted_row(made).duplicate_of, accepted_row(made).duplicate_reason) == (first.id, "detention pay")
    [(reason,)] = refusing.rows("SELECT duplicate_reason FROM payouts WHERE id = :id", id=accepted_row(made).id)
    assert reason == "detention pay"


def test_batch_is_checked_against_payouts_and_itself(refusing: World, driver: uuid.UUID) -> None:
    """Batch payouts are live from the batch's creation."""
    orders = [order_for_load(refusing, driver), order_for_load(refusing, driver)]
    with pytest.raises(ItemsRejected) as refused:
        create_batch_of(refusing, *orders)
    assert [item["index"] for item in refused.value.details["items"]] == [1]
    [payout_id] = create_batch_of(refusing, orders[0])
    [single] = refusing.accept(order_for_load(refusing, driver))
    assert isinstance(single, Conflict)
    assert single.details["payoutId"].startswith("pay_")
    assert refusing.statuses([payout_id]) == ["validated"]


def create_batch_of(world: World, *orders: PayoutOrder) -> list[uuid.UUID]:
    """Create a batch of the orders and return its payout ids."""
    batch_id = new_id()
    chosen = [order._replace(id=new_id(), batch_id=batch_id) for order in orders]
    new = NewBatch(batch_id, world.wallet_id, "Weekly", Rail.STANDARD, None, chosen)
    with world.engine.begin() as connection:
        return [
            made.id
            for made in insert_batch(connection, new, load_order_context(connection, chosen), world.clock.now())[1]
        ]


def test_concurrent_orders_for_a_load_make_one_payout(refusing: World, driver: uuid.UUID) -> None:
    """Single payouts and batches, without an idempotency key."""

    def single() -> bool:
        return isinstance(refusing.accept(order_for_load(refusing, driver))[0], PayoutRow)

    def batch() -> bool:
        try:
            return bool(create_batch_of(refusing, order_for_load(refusing, driver)))
        except ItemsRejected:
            return False

    ways: list[Callable[[], bool]] = [single, batch] * 10
    with ThreadPoolExecutor(10) as pool:
        made = [task.result() for task in [pool.submit(way) for way in ways]]
    assert made.count(True) == 1


@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_retry_of_a_load_paid_meanwhile_is_a_duplicate(world: World, driver: uuid.UUID, policy: str) -> None:
    """Marked or refused, by the policy."""
    failed = [accepted_row(world.accept(order_for_load(world, driver))[0]).id]
    with world.engine.begin() as connection:
        queue_validated_payouts(connection, failed, world.clock.now(), grace=GRACE)
    world.end(failed, PayoutStatus.FAILED)
    again = accepted_row(world.accept(order_for_load(world, driver))[0])
    world.execute("UPDATE wallets SET duplicate_loads = :policy WHERE id = :id", id=world.wallet_id, policy=policy)
    with world.engine.begin() as connection:
        [answer] = retry_wallet_payouts(connection, world.wallet_id, failed, world.clock.now(), grace=GRACE).values()
    if policy == "refuse":
        assert isinstance(answer, Conflict)
        assert answer.code == "DUPLICATE_PAYOUT"
    else:
        assert accepted_row(answer).duplicate_of == again.id


def test_only_one_of_two_failed_payouts_for_a_load_is_retried(refusing: World, driver: uuid.UUID) -> None:
    """Even in one request."""
    allowed = order_for_load(refusing, driver)._replace(allow_duplicate=True, duplicate_reason="mine")
    both = [accepted_row(answer).id for answer in refusing.accept(order_for_load(refusing, driver), allowed)]
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, both, refusing.clock.now(), grace=GRACE)
    refusing.end(both, PayoutStatus.FAILED)
    with refusing.engine.begin() as connection:
        answers = retry_wallet_payouts(connection, refusing.wallet_id, both, refusing.clock.now(), grace=GRACE)
    assert [isinstance(answers[payout_id], PayoutRow) for payout_id in both] == [True, False]


def test_driver_registered_again_is_the_same_driver(refusing: World, driver: uuid.UUID) -> None:
    """The load was paid before the driver was deleted."""
    first = accepted_row(refusing.accept(order_for_load(refusing, driver))[0])
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, [first.id], refusing.clock.now(), grace=GRACE)
    refusing.end([first.id], PayoutStatus.COMPLETED)
    again = refusing.driver()
    refusing.execute("UPDATE drivers SET deleted_at = now(), status = 'inactive' WHERE id = :id", id=driver)
    refusing.execute(
        "UPDATE drivers SET ovn_driver_id = (SELECT ovn_driver_id FROM drivers WHERE id = :old) WHERE id = :id",
        old=driver,
        id=again,
    )
    [answer] = refusing.accept(order_for_load(refusing, again))
    assert isinstance(answer, Conflict)


def test_failed_payout_on_hold_is_live(refusing: World, driver: uuid.UUID) -> None:
    """It may have been paid: an operator has to review it before the load is paid again."""
    first = accepted_row(refusing.accept(order_for_load(refusing, driver))[0])
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, [first.id], refusing.clock.now(), grace=GRACE)
    refusing.end([first.id], PayoutStatus.FAILED)
    refusing.execute("UPDATE payouts SET held_reason = 'it says both' WHERE id = :id", id=first.id)
    [answer] = refusing.accept(order_for_load(refusing, driver))
    assert isinstance(answer, Conflict)
