"""What contradicts our record: it stops the payout, is counted, and touches no money, whatever state it tells of."""

import itertools
import json
import threading
import uuid
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared import inbox
from shared.inbox import StoredNotifications, StoreResult
from shared.payouts import poll
from shared.platform.ids import DRIVER, PAYOUT, new_id, public_id
from shared.provider.outcomes import Accepted
from tests.support.provider_steps import (
    TRANSFERS_BY_STATUS,
    WorkerContext,
    apply_events,
    store_webhooks,
    submitted_payout,
    webhook_body,
)
from tests.support.world import GRACE, World
from workers.provider_events import apply_provider_events


def body(payment_id: str | None, state: str, event_id: str | None = None, **data: Any) -> bytes:
    """A webhook in Paystream's shape, with more in its data."""
    told = {"paymentId": payment_id, "amount": 44_750, "status": state} | data
    return json.dumps({"id": event_id or f"evt_{new_id().hex}", "type": f"payment.{state}", "data": told}).encode()


def is_held(world: World, payout_id: uuid.UUID) -> bool:
    """Whether a person has to look, and nothing happens by itself."""
    [(reason, due)] = world.rows("SELECT held_reason, next_action_at FROM payouts WHERE id = :id", id=payout_id)
    assert reason is None or due is None
    return reason is not None


def outcome(world: World, event_id: uuid.UUID) -> str:
    """What the log says that it did."""
    [(text,)] = world.rows("SELECT outcome FROM provider_events WHERE id = :id", id=event_id)
    return str(text)


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"amount": 44_751}, "44751 cents"),
    ({"amount": 45_000}, "45000 cents"),  # with our fee, which the provider never sees
    ({"amount": -44_750}, "-44750 cents"),
    ({"currency": "eur"}, "currency eur, expected USD"),
    ({"recipientId": "rec_somebody_else"}, "recipient rec_somebody_else"),
    ({"driverId": public_id(DRIVER, new_id())}, "driver other than"),
    ({"driverId": "OVN-7"}, "driver other than"),
    ({"payoutId": public_id(PAYOUT, new_id())}, "but the payment is for"),
]


def test_a_difference_stops_the_payout_and_touches_no_money(world: World) -> None:
    """Whatever differs, in whatever state it is told of; not even the right word after it moves it."""
    for (data, words), state in itertools.product(DIFFERENT, ("created", "processing", *TRANSFERS_BY_STATUS)):
        payout_id, payment_id = submitted_payout(world)
        [event_id] = store_webhooks(world, body(payment_id, state, **data))
        [wrong] = apply_events(world, [event_id])
        [right] = apply_events(world, store_webhooks(world, body(payment_id, "completed")))
        assert (wrong.status, right.status) == ("mismatch", "ignored"), (data, state)
        assert words in outcome(world, event_id)
        assert is_held(world, payout_id), (data, state)
        assert world.statuses([payout_id]) == ["processing"]
        assert world.transfers(payout_id) == [("reserve", 45_000)], (data, state)


def test_what_agrees_is_no_difference_and_wakes_no_worker_on_the_way(world: World) -> None:
    """Everything that may come along, as it is by our record; the currency in either case."""
    payout_id, payment_id = submitted_payout(world)
    [(driver_id, recipient_id)] = world.rows(
        "SELECT id, recipient_id FROM drivers WHERE id = (SELECT driver_id FROM payouts WHERE id = :id)", id=payout_id
    )
    data = {
        "currency": "usd",
        "recipientId": recipient_id,
        "driverId": public_id(DRIVER, uuid.UUID(str(driver_id))),
        "payoutId": public_id(PAYOUT, payout_id),
        "rail": "same_day_ach",
    }
    assert store_webhooks(world, body(payment_id, "processing", **data)) == []
    [settled] = apply_events(world, store_webhooks(world, body(payment_id, "completed", **data)))
    assert (settled.status, world.statuses([payout_id])) == ("applied", ["completed"])
    assert not is_held(world, payout_id)


@pytest.mark.parametrize("data", [{"recipientId": "rec_somebody_else"}, {"currency": "eur"}, {"amount": 1}])
def test_a_difference_heard_by_asking_stops_it_too(world: World, data: dict[str, Any]) -> None:
    """The provider's record is compared like its webhooks."""
    payout_id, payment_id = submitted_payout(world)
    [(recipient_id,)] = world.rows(
        "SELECT recipient_id FROM submission_items WHERE provider_payment_id = :id", id=payment_id
    )
    told = {"id": payment_id, "recipientId": recipient_id, "amount": 44_750, "currency": "usd", "status": "completed"}
    with world.engine.begin() as connection:
        questions = poll.start_polls(connection, [payout_id], world.clock.now(), first_seconds=60)
        poll.apply_poll_outcomes(connection, questions, [Accepted(told | data)], world.clock.now())
    assert is_held(world, payout_id)
    assert world.transfers(payout_id) == [("reserve", 45_000)]


def test_said_to_be_paid_before_we_have_asked(world: World) -> None:
    """A payout that waits is stopped, and goes nowhere; that it has failed changes nothing."""
    [payout_id, other_id] = world.accepted(2)
    told = [
        json.dumps(
            {"event": f"payout.{state}", "data": {"payoutId": public_id(PAYOUT, one), "amount": 45_000}}
        ).encode()
        for one, state in ((payout_id, "completed"), (other_id, "failed"))
    ]
    verdicts = [settled.status for settled in apply_events(world, store_webhooks(world, *told))]
    assert verdicts == ["mismatch", "ignored"]
    assert (is_held(world, payout_id), is_held(world, other_id)) == (True, False)


def store(world: World, *bodies: bytes) -> StoredNotifications:
    """Stores webhooks, committed."""
    with world.engine.begin() as connection:
        notices = [inbox.parse_notification(one) for one in bodies]
        return inbox.store_notifications(connection, notices, world.clock.now(), grace=GRACE)


@pytest.mark.parametrize("together", [True, False])
def test_the_same_id_with_another_body_stops_the_payout(world: World, together: bool) -> None:
    """Both bodies are kept; the second one, and a repeat of it, touch no money."""
    payout_id, payment_id = submitted_payout(world)
    first = body(payment_id, "processing", "evt_1" + payment_id)
    second = body(payment_id, "completed", "evt_1" + payment_id)
    if together:
        stored = store(world, first, second, second, first)
    else:
        assert store(world, first).results == [StoreResult.STORED]
        stored = store(world, second)
    assert StoreResult.CONTRADICTED in stored.results
    [settled] = apply_events(world, stored.waiting)
    assert (settled.status, world.statuses([payout_id])) == ("mismatch", ["processing"])
    assert "two bodies" in settled.outcome
    assert is_held(world, payout_id)
    assert store(world, second, first).waiting == []
    assert world.transfers(payout_id) == [("reserve", 45_000)]
    assert len(world.rows("SELECT FROM provider_events WHERE payment_id = :id", id=payment_id)) == 2


def test_two_bodies_under_one_id_that_come_together_both_touch_no_money(world: World) -> None:
    """Whichever came first: nobody knows which of them is true."""
    payout_id, payment_id = submitted_payout(world)
    stored = store(
        world,
        body(payment_id, "completed", "evt_2" + payment_id),
        body(payment_id, "failed", "evt_2" + payment_id),
    )
    assert stored.results == [StoreResult.STORED, StoreResult.CONTRADICTED]
    assert sorted(settled.status for settled in apply_events(world, stored.waiting)) == ["ignored", "mismatch"]
    assert world.transfers(payout_id) == [("reserve", 45_000)]


def test_two_bodies_under_one_id_about_two_payments_stop_both(world: World) -> None:
    """What was settled by the first stays settled."""
    (payout_id, payment_id), (other_id, other_payment_id) = submitted_payout(world), submitted_payout(world)
    apply_events(world, store(world, body(payment_id, "completed", "evt_3" + payment_id)).waiting)
    apply_events(world, store(world, body(other_payment_id, "completed", "evt_3" + payment_id)).waiting)
    assert (is_held(world, payout_id), is_held(world, other_id)) == (True, True)
    assert world.transfers(payout_id) == TRANSFERS_BY_STATUS["completed"]
    assert world.transfers(other_id) == [("reserve", 45_000)]


def test_a_second_body_about_nothing_stops_the_payout_of_the_first(world: World) -> None:
    """It is no orphan: whose it is, is known by the first."""
    payout_id, payment_id = submitted_payout(world)
    store(world, body(payment_id, "processing", "evt_4" + payment_id))
    stored = store(world, json.dumps({"id": "evt_4" + payment_id, "type": "batch.completed", "data": {}}).encode())
    [settled] = apply_events(world, stored.waiting)
    assert (settled.status, settled.payout_id, is_held(world, payout_id)) == ("mismatch", payout_id, True)


def test_several_workers_with_the_same_events_apply_them_once(world: World) -> None:
    """Given a doorbell heard four times at once."""
    pairs = [submitted_payout(world) for _ in range(5)]
    event_ids = store_webhooks(world, *(webhook_body(payment_id, state) for _, payment_id in pairs
                                 for state in ("returned", "completed")))  # fmt: skip
    barrier, handled = threading.Barrier(4), []

    def worker() -> None:
        barrier.wait()
        handled.extend(apply_events(world, event_ids))

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    apply_events(world, event_ids)  # what one of them skipped because another held it
    assert len({one.event_id for one in handled}) == len(handled)
    assert set(world.statuses([payout_id for payout_id, _ in pairs])) == {"returned"}
    assert all(world.transfers(payout_id) == TRANSFERS_BY_STATUS["returned"] for payout_id, _ in pairs)
    world.assert_ledger_consistent()


def counted(result: str) -> float:
    """How many webhooks have come to this, by the metric that the alerts read."""
    return REGISTRY.get_sample_value("ovnpay_provider_events_total", {"result": result}) or 0


def test_what_became_of_them_is_counted(world: World) -> None:
    """Each result, and how old what was handled for good was."""
    _, payment_id = submitted_payout(world)
    results = ("applied", "ignored", "mismatch", "orphan", "unplaced")
    before = [counted(result) for result in results]
    ages = REGISTRY.get_sample_value("ovnpay_provider_event_age_seconds_count") or 0
    event_ids = store_webhooks(
        world,
        webhook_body(payment_id, "completed"),
        body(payment_id, "completed"),
        body(payment_id, "completed", amount=1),
        webhook_body(f"pay_{uuid.uuid4().hex}", "completed"),
    )
    apply_provider_events(WorkerContext(world), event_ids)
    world.clock.advance(hours=25)
    apply_provider_events(WorkerContext(world), event_ids)
    assert [counted(result) - was for result, was in zip(results, before, strict=True)] == [1, 1, 1, 1, 1]
    assert (REGISTRY.get_sample_value("ovnpay_provider_event_age_seconds_count") or 0) - ages == 4
