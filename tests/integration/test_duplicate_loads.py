"""Pay once per load: recognized in every way in, and race-proof."""

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
    """A driver."""
    return world.driver()


@pytest.fixture
def refusing(world: World) -> World:
    """A world whose wallet refuses doubles."""
    world.execute("UPDATE wallets SET duplicate_loads = 'refuse' WHERE id = :id", id=world.wallet_id)
    return world


def for_load(world: World, driver: uuid.UUID, load_id: str = "L-1") -> PayoutOrder:
    """An order for a load."""
    return world.order(driver)._replace(load_id=load_id)


def row(answer: PayoutRow | DomainError) -> PayoutRow:
    """The payout of an answer that must be one."""
    assert isinstance(answer, PayoutRow)
    return answer


def test_a_double_is_made_and_names_the_first(world: World, driver: uuid.UUID) -> None:
    """The default policy; another driver, another load and no load are no doubles."""
    first = row(world.accept(for_load(world, driver))[0])
    answers = world.accept(
        for_load(world, driver),
        for_load(world, driver, "L-2"),
        for_load(world, world.driver()),
        world.order(driver),
        world.order(driver),
        for_load(world, driver, "L-2"),
    )
    doubles = [row(answer).duplicate_of for answer in answers]
    assert doubles == [first.id, None, None, None, None, row(answers[1]).id]


@pytest.mark.parametrize("end", [PayoutStatus.COMPLETED, PayoutStatus.FAILED])
def test_only_a_live_payout_makes_the_next_a_double(refusing: World, driver: uuid.UUID, end: PayoutStatus) -> None:
    """A completed one is live, a failed one is not."""
    first = row(refusing.accept(for_load(refusing, driver))[0])
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, [first.id], refusing.clock.now(), grace=GRACE)
    refusing.end([first.id], end)
    [second] = refusing.accept(for_load(refusing, driver))
    assert isinstance(second, Conflict) is (end is PayoutStatus.COMPLETED)


def test_a_double_is_refused_unless_it_is_allowed(refusing: World, driver: uuid.UUID) -> None:
    """And then it keeps the reason."""
    first = row(refusing.accept(for_load(refusing, driver))[0])
    allowed = for_load(refusing, driver)._replace(allow_duplicate=True, duplicate_reason="detention pay")
    refused, made = refusing.accept(for_load(refusing, driver), allowed)
    assert isinstance(refused, Conflict)
    assert refused.code == "DUPLICATE_PAYOUT"
    assert (row(made).duplicate_of, row(made).duplicate_reason) == (first.id, "detention pay")
    [(reason,)] = refusing.rows("SELECT duplicate_reason FROM payouts WHERE id = :id", id=row(made).id)
    assert reason == "detention pay"


def test_a_batch_is_checked_against_payouts_and_against_itself(refusing: World, driver: uuid.UUID) -> None:
    """Its payouts are live from the moment it is handed in."""
    orders = [for_load(refusing, driver), for_load(refusing, driver)]
    with pytest.raises(ItemsRejected) as refused:
        hand_in_batch(refusing, *orders)
    assert [item["index"] for item in refused.value.details["items"]] == [1]
    [payout_id] = hand_in_batch(refusing, orders[0])
    [single] = refusing.accept(for_load(refusing, driver))
    assert isinstance(single, Conflict)
    assert single.details["payoutId"].startswith("pay_")
    assert refusing.statuses([payout_id]) == ["validated"]


def hand_in_batch(world: World, *orders: PayoutOrder) -> list[uuid.UUID]:
    """Hands a batch in."""
    batch_id = new_id()
    chosen = [order._replace(id=new_id(), batch_id=batch_id) for order in orders]
    new = NewBatch(batch_id, world.wallet_id, "Weekly", Rail.STANDARD, None, chosen)
    with world.engine.begin() as connection:
        return [
            made.id
            for made in insert_batch(connection, new, load_order_context(connection, chosen), world.clock.now())[1]
        ]


def test_twenty_at_the_same_instant_make_one_payout(refusing: World, driver: uuid.UUID) -> None:
    """Singles and batches racing for one load, without an idempotency key."""

    def single() -> bool:
        return isinstance(refusing.accept(for_load(refusing, driver))[0], PayoutRow)

    def batch() -> bool:
        try:
            return bool(hand_in_batch(refusing, for_load(refusing, driver)))
        except ItemsRejected:
            return False

    ways: list[Callable[[], bool]] = [single, batch] * 10
    with ThreadPoolExecutor(10) as pool:
        made = [task.result() for task in [pool.submit(way) for way in ways]]
    assert made.count(True) == 1


@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_a_retry_whose_load_was_paid_meanwhile_is_a_double(world: World, driver: uuid.UUID, policy: str) -> None:
    """Warned of, or refused."""
    failed = [row(world.accept(for_load(world, driver))[0]).id]
    with world.engine.begin() as connection:
        queue_validated_payouts(connection, failed, world.clock.now(), grace=GRACE)
    world.end(failed, PayoutStatus.FAILED)
    again = row(world.accept(for_load(world, driver))[0])
    world.execute("UPDATE wallets SET duplicate_loads = :policy WHERE id = :id", id=world.wallet_id, policy=policy)
    with world.engine.begin() as connection:
        [answer] = retry_wallet_payouts(connection, world.wallet_id, failed, world.clock.now(), grace=GRACE).values()
    if policy == "refuse":
        assert isinstance(answer, Conflict)
        assert answer.code == "DUPLICATE_PAYOUT"
    else:
        assert row(answer).duplicate_of == again.id


def test_of_two_failed_payouts_for_a_load_only_one_is_retried(refusing: World, driver: uuid.UUID) -> None:
    """In one request, too."""
    allowed = for_load(refusing, driver)._replace(allow_duplicate=True, duplicate_reason="mine")
    both = [row(answer).id for answer in refusing.accept(for_load(refusing, driver), allowed)]
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, both, refusing.clock.now(), grace=GRACE)
    refusing.end(both, PayoutStatus.FAILED)
    with refusing.engine.begin() as connection:
        answers = retry_wallet_payouts(connection, refusing.wallet_id, both, refusing.clock.now(), grace=GRACE)
    assert [isinstance(answers[payout_id], PayoutRow) for payout_id in both] == [True, False]


def test_a_driver_registered_again_is_the_same_one(refusing: World, driver: uuid.UUID) -> None:
    """Deleted in between: his load is paid."""
    first = row(refusing.accept(for_load(refusing, driver))[0])
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
    [answer] = refusing.accept(for_load(refusing, again))
    assert isinstance(answer, Conflict)


def test_a_failed_payout_that_may_have_been_paid_is_live(refusing: World, driver: uuid.UUID) -> None:
    """Paystream contradicts itself: a person has to look before he is paid again."""
    first = row(refusing.accept(for_load(refusing, driver))[0])
    with refusing.engine.begin() as connection:
        queue_validated_payouts(connection, [first.id], refusing.clock.now(), grace=GRACE)
    refusing.end([first.id], PayoutStatus.FAILED)
    refusing.execute("UPDATE payouts SET held_reason = 'it says both' WHERE id = :id", id=first.id)
    [answer] = refusing.accept(for_load(refusing, driver))
    assert isinstance(answer, Conflict)
