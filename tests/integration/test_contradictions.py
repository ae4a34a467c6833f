"""Contradictions: they put the payout on hold and move no money, whatever state is reported."""

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


def make_webhook(payment_id: str | None, state: str, event_id: str | None = None, **data: Any) -> bytes:
    """A webhook with additional data."""
    content = {"paymentId": payment_id, "amount": 44_750, "status": state} | data
    return json.dumps({"id": event_id or f"evt_{new_id().hex}", "type": f"payment.{state}", "data": content}).encode()


def is_on_hold(world: World, payout_id: uuid.UUID) -> bool:
    """Whether the payout is on hold; then nothing may be due."""
    [(reason, due)] = world.rows("SELECT held_reason, next_action_at FROM payouts WHERE id = :id", id=payout_id)
    assert reason is None or due is None
    return reason is not None


def outcome_of(world: World, event_id: uuid.UUID) -> str:
    """The event's outcome in the webhook log."""
    [(text,)] = world.rows("SELECT outcome FROM provider_events WHERE id = :id", id=event_id)
    return str(text)


DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"amount": 44_751}, "44751 cents"),
    ({"amount": 45_000}, "45000 cents"),  # with our fee, which the provider never sees
    ({"amount": -44_750}, "-44750 cents"),
    ({"currency": "eur"}, "currency eur, expected USD"),
    ({"recipientId": "rec_somebody_else"}, "recipient rec_somebody_else"),
    ({"driverId": public_id(DRIVER, new_id())}, "driver other than"),
    ({"driverId": "OVN-7"}, "driver other than"),
    ({"payoutId": public_id(PAYOUT, new_id())}, "but the payment is for"),
]


def test_difference_puts_payout_on_hold_and_moves_no_money(world: World) -> None:
    """For every difference and every reported state; a correct webhook afterwards moves nothing either."""
    for (data, words), state in itertools.product(DIFFERENCES, ("created", "processing", *TRANSFERS_BY_STATUS)):
        payout_id, payment_id = submitted_payout(world)
        [event_id] = store_webhooks(world, make_webhook(payment_id, state, **data))
        [wrong] = apply_events(world, [event_id])
        [right] = apply_events(world, store_webhooks(world, make_webhook(payment_id, "completed")))
        assert (wrong.status, right.status) == ("mismatch", "ignored"), (data, state)
        assert words in outcome_of(world, event_id)
        assert is_on_hold(world, payout_id), (data, state)
        assert world.statuses([payout_id]) == ["processing"]
        assert world.transfers(payout_id) == [("reserve", 45_000)], (data, state)


def test_matching_data_is_no_difference(world: World) -> None:
    """All optional fields match our record. A progress event wakes no worker."""
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
    assert store_webhooks(world, make_webhook(payment_id, "processing", **data)) == []
    [settled] = apply_events(world, store_webhooks(world, make_webhook(payment_id, "completed", **data)))
    assert (settled.status, world.statuses([payout_id])) == ("applied", ["completed"])
    assert not is_on_hold(world, payout_id)


@pytest.mark.parametrize("data", [{"recipientId": "rec_somebody_else"}, {"currency": "eur"}, {"amount": 1}])
def test_difference_in_a_poll_puts_payout_on_hold(world: World, data: dict[str, Any]) -> None:
    payout_id, payment_id = submitted_payout(world)
    [(recipient_id,)] = world.rows(
        "SELECT recipient_id FROM submission_items WHERE provider_payment_id = :id", id=payment_id
    )
    paid = {"id": payment_id, "recipientId": recipient_id, "amount": 44_750, "currency": "usd", "status": "completed"}
    with world.engine.begin() as connection:
        questions = poll.start_polls(connection, [payout_id], world.clock.now(), first_seconds=60)
        poll.apply_poll_outcomes(connection, questions, [Accepted(paid | data)], world.clock.now())
    assert is_on_hold(world, payout_id)
    assert world.transfers(payout_id) == [("reserve", 45_000)]


def test_payout_reported_paid_before_its_submission_is_put_on_hold(world: World) -> None:
    """A reported failure changes nothing."""
    [payout_id, other_id] = world.accepted(2)
    bodies = [
        json.dumps(
            {"event": f"payout.{state}", "data": {"payoutId": public_id(PAYOUT, one), "amount": 45_000}}
        ).encode()
        for one, state in ((payout_id, "completed"), (other_id, "failed"))
    ]
    results = [settled.status for settled in apply_events(world, store_webhooks(world, *bodies))]
    assert results == ["mismatch", "ignored"]
    assert (is_on_hold(world, payout_id), is_on_hold(world, other_id)) == (True, False)


def store(world: World, *bodies: bytes) -> StoredNotifications:
    """Store webhooks, committed."""
    with world.engine.begin() as connection:
        notices = [inbox.parse_notification(one) for one in bodies]
        return inbox.store_notifications(connection, notices, world.clock.now(), grace=GRACE)


@pytest.mark.parametrize("together", [True, False])
def test_second_body_under_an_event_id_puts_payout_on_hold(world: World, together: bool) -> None:
    """Both bodies are stored; the second, and a repeat of it, move no money."""
    payout_id, payment_id = submitted_payout(world)
    first = make_webhook(payment_id, "processing", "evt_1" + payment_id)
    second = make_webhook(payment_id, "completed", "evt_1" + payment_id)
    if together:
        stored = store(world, first, second, second, first)
    else:
        assert store(world, first).results == [StoreResult.STORED]
        stored = store(world, second)
    assert StoreResult.CONTRADICTED in stored.results
    [settled] = apply_events(world, stored.waiting)
    assert (settled.status, world.statuses([payout_id])) == ("mismatch", ["processing"])
    assert "two bodies" in settled.outcome
    assert is_on_hold(world, payout_id)
    assert store(world, second, first).waiting == []
    assert world.transfers(payout_id) == [("reserve", 45_000)]
    assert len(world.rows("SELECT FROM provider_events WHERE payment_id = :id", id=payment_id)) == 2


def test_two_bodies_received_together_move_no_money(world: World) -> None:
    payout_id, payment_id = submitted_payout(world)
    stored = store(
        world,
        make_webhook(payment_id, "completed", "evt_2" + payment_id),
        make_webhook(payment_id, "failed", "evt_2" + payment_id),
    )
    assert stored.results == [StoreResult.STORED, StoreResult.CONTRADICTED]
    assert sorted(settled.status for settled in apply_events(world, stored.waiting)) == ["ignored", "mismatch"]
    assert world.transfers(payout_id) == [("reserve", 45_000)]


def test_two_bodies_about_two_payments_put_both_on_hold(world: World) -> None:
    """What the first one settled stays settled."""
    (payout_id, payment_id), (other_id, other_payment_id) = submitted_payout(world), submitted_payout(world)
    apply_events(world, store(world, make_webhook(payment_id, "completed", "evt_3" + payment_id)).waiting)
    apply_events(world, store(world, make_webhook(other_payment_id, "completed", "evt_3" + payment_id)).waiting)
    assert (is_on_hold(world, payout_id), is_on_hold(world, other_id)) == (True, True)
    assert world.transfers(payout_id) == TRANSFERS_BY_STATUS["completed"]
    assert world.transfers(other_id) == [("reserve", 45_000)]


def test_second_body_without_payment_puts_the_first_payout_on_hold(world: World) -> None:
    """It is no orphan: the first body names the payout."""
    payout_id, payment_id = submitted_payout(world)
    store(world, make_webhook(payment_id, "processing", "evt_4" + payment_id))
    stored = store(world, json.dumps({"id": "evt_4" + payment_id, "type": "batch.completed", "data": {}}).encode())
    [settled] = apply_events(world, stored.waiting)
    assert (settled.status, settled.payout_id, is_on_hold(world, payout_id)) == ("mismatch", payout_id, True)


def test_concurrent_workers_apply_events_once(world: World) -> None:
    """The same message is delivered to four workers."""
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


def event_count(result: str) -> float:
    """The value of the metric that alerts use."""
    return REGISTRY.get_sample_value("ovnpay_provider_events_total", {"result": result}) or 0


def test_results_and_ages_are_counted(world: World) -> None:
    """Each result is counted, and the age of each event that is finished."""
    _, payment_id = submitted_payout(world)
    results = ("applied", "ignored", "mismatch", "orphan", "unplaced")
    before = [event_count(result) for result in results]
    ages = REGISTRY.get_sample_value("ovnpay_provider_event_age_seconds_count") or 0
    event_ids = store_webhooks(
        world,
        webhook_body(payment_id, "completed"),
        make_webhook(payment_id, "completed"),
        make_webhook(payment_id, "completed", amount=1),
        webhook_body(f"pay_{uuid.uuid4().hex}", "completed"),
    )
    apply_provider_events(WorkerContext(world), event_ids)
    world.clock.advance(hours=25)
    apply_provider_events(WorkerContext(world), event_ids)
    assert [event_count(result) - was for result, was in zip(results, before, strict=True)] == [1, 1, 1, 1, 1]
    assert (REGISTRY.get_sample_value("ovnpay_provider_event_age_seconds_count") or 0) - ages == 4
