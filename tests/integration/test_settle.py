"""Settlement: webhooks repeated, late, contradicting or orphaned; the payout ends as the provider's record says."""

import json
import threading
from datetime import timedelta

import pytest

from shared import inbox
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.provider_results import record_outcome
from shared.platform.ids import PAYOUT, public_id
from shared.schema.payouts import PayoutStatus as S
from tests.support.provider_steps import (
    TRANSFERS_BY_STATUS,
    accepted_answer,
    apply_events,
    store_webhooks,
    submitted_payout,
    webhook_body,
)
from tests.support.world import GRACE, World


def test_repeated_webhook_is_stored_once(world: World) -> None:
    """Repeats wake no worker; a body without an id is recognized by its hash."""
    _, payment_id = submitted_payout(world)
    body = webhook_body(payment_id, "completed")
    nameless = json.dumps({"type": "payment.completed", "data": {"paymentId": payment_id, "amount": 44_750}}).encode()
    assert len(store_webhooks(world, body, body, nameless, nameless)) == 2
    assert store_webhooks(world, body, nameless) == []


def test_webhook_before_the_response_is_an_orphan_until_the_response(world: World) -> None:
    [payout_id], held = world.leased_submission()
    answer = accepted_answer(held)
    event_ids = store_webhooks(world, webhook_body(answer.data["id"], "completed"))
    assert [settled.status for settled in apply_events(world, event_ids)] == ["orphan"]
    assert world.rows("SELECT next_action_at IS NOT NULL FROM provider_events WHERE id = :id", id=event_ids[0]) == [
        (True,)
    ]
    with world.engine.begin() as connection:
        recorded = record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
    assert recorded.events == event_ids
    apply_events(world, recorded.events)
    assert world.statuses([payout_id]) == ["completed"]


def test_orphan_is_retried_with_backoff_for_a_day(world: World) -> None:
    """Then it stays in the log and is not due. If its payment becomes known later, it is applied."""
    [payout_id], held = world.leased_submission()
    answer = accepted_answer(held)
    event_ids = store_webhooks(world, webhook_body(answer.data["id"], "completed"))
    waits = []
    for _ in range(4):
        [orphan] = apply_events(world, event_ids)
        assert orphan.due is not None
        waits.append((orphan.due - world.clock.now()).total_seconds())
        world.clock.advance(hours=5)
    assert waits == [1, 2, 4, 8]
    world.clock.advance(hours=5)
    [orphan] = apply_events(world, event_ids)
    assert (orphan.status, orphan.due, orphan.outcome) == (
        "orphan",
        None,
        "given up after a day: no payment of ours by that id",
    )
    with world.engine.begin() as connection:
        recorded = record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
    assert recorded.events == event_ids
    assert world.rows("SELECT next_action_at IS NOT NULL FROM provider_events WHERE id = :id", id=event_ids[0]) == [
        (True,)
    ]
    apply_events(world, event_ids)
    assert world.statuses([payout_id]) == ["completed"]


def test_progress_webhook_before_the_response_waits_for_it(world: World) -> None:
    """It can't be compared before the payment is known, and wakes no worker."""
    [payout_id], held = world.leased_submission()
    answer = accepted_answer(held)
    early = webhook_body(answer.data["id"], "created", 1)
    assert store_webhooks(world, early) == []
    assert world.rows(
        "SELECT status, next_action_at - received_at FROM provider_events WHERE payment_id = :id", id=answer.data["id"]
    ) == [("received", GRACE)]
    with world.engine.begin() as connection:
        recorded = record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
    [settled] = apply_events(world, recorded.events)
    assert (settled.status, settled.payout_id) == ("mismatch", payout_id)
    assert world.statuses([payout_id]) == ["processing"]


def test_progress_webhook_applied_too_early_is_an_orphan_until_the_response(world: World) -> None:
    _, held = world.leased_submission()
    answer = accepted_answer(held)
    assert store_webhooks(world, webhook_body(answer.data["id"], "created")) == []
    ids = [row[0] for row in world.rows("SELECT id FROM provider_events WHERE payment_id = :id", id=answer.data["id"])]
    assert [settled.status for settled in apply_events(world, ids)] == ["orphan"]
    with world.engine.begin() as connection:
        recorded = record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
    assert [settled.status for settled in apply_events(world, recorded.events)] == ["ignored"]


@pytest.mark.parametrize(("first", "then"), [("completed", "failed"), ("failed", "completed"), ("failed", "returned")])
def test_contradiction_moves_no_money(world: World, first: str, then: str) -> None:
    """The payout stays settled and is put on hold."""
    payout_id, payment_id = submitted_payout(world)
    apply_events(world, store_webhooks(world, webhook_body(payment_id, first)))
    [settled] = apply_events(world, store_webhooks(world, webhook_body(payment_id, then)))
    assert settled.status == "mismatch"
    assert world.statuses([payout_id]) == [first]
    assert world.transfers(payout_id) == TRANSFERS_BY_STATUS[first]
    assert world.rows("SELECT held_reason IS NOT NULL FROM payouts WHERE id = :id", id=payout_id) == [(True,)]


def test_late_update_of_an_older_attempt_does_not_change_the_new_one(world: World) -> None:
    """A repeated failure changes nothing; `completed` puts the payout on hold."""
    payout_id, payment_id = submitted_payout(world)
    apply_events(world, store_webhooks(world, webhook_body(payment_id, "failed")))
    with world.engine.begin() as connection:
        transition_payouts(connection, [Move(payout_id, "retry")], S.FAILED, S.QUEUED, world.clock.now())
    [repeat] = apply_events(world, store_webhooks(world, webhook_body(payment_id, "failed")))
    assert (repeat.status, world.statuses([payout_id])) == ("ignored", ["queued"])
    [alarm] = apply_events(world, store_webhooks(world, webhook_body(payment_id, "completed")))
    assert (alarm.status, world.statuses([payout_id])) == ("mismatch", ["queued"])
    world.assert_ledger_consistent()


@pytest.mark.parametrize("amount_cents", [45_000, 44_750])
def test_webhook_in_the_references_shape_names_our_payout(world: World, amount_cents: int) -> None:
    """`event`, `data.payoutId`, and the amount with or without the fee."""
    payout_id, _ = submitted_payout(world)
    body = {
        "event": "payout.completed",
        "timestamp": "2026-02-08T10:00:00Z",
        "data": {"payoutId": public_id(PAYOUT, payout_id), "status": "completed", "amount": amount_cents},
        "signature": "t=1234567890,v1 signature_here",
    }
    [settled] = apply_events(world, store_webhooks(world, json.dumps(body).encode()))
    assert settled.status == "applied"
    assert world.statuses([payout_id]) == ["completed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"data": {}}',
        b'{"type": "payment.completed", "data": 7}',
        b"[" * 100_000,
        b'{"type": "payment.completed", "data": {"amount": 9223372036854775808}}',
        b'{"type": "\xff"}',
    ],
)
def test_invalid_body_is_malformed(body: bytes) -> None:
    with pytest.raises(inbox.MalformedNotification):
        inbox.parse_notification(body)


def test_payment_canceled_at_the_provider_fails_the_payout(world: World) -> None:
    """The amount is available again."""
    payout_id, payment_id = submitted_payout(world)
    apply_events(world, store_webhooks(world, webhook_body(payment_id, "canceled")))
    assert world.statuses([payout_id]) == ["failed"]
    assert world.transfers(payout_id) == TRANSFERS_BY_STATUS["failed"]


def test_settling_two_wallets_in_opposite_order_does_not_deadlock(world: World) -> None:
    """Two workers each complete a payout of one wallet and fail one of the other."""
    other = World(world.engine)
    rounds = []
    for _ in range(6):
        pairs = [(submitted_payout(one), submitted_payout(one)) for one in (world, other)]
        (a_done, a_lost), (b_done, b_lost) = pairs
        rounds.append(
            [
                store_webhooks(world, webhook_body(b_done[1], "completed"), webhook_body(a_lost[1], "failed")),
                store_webhooks(world, webhook_body(a_done[1], "completed"), webhook_body(b_lost[1], "failed")),
            ]
        )
    failures: list[BaseException] = []

    def worker(side: int) -> None:
        try:
            for both in rounds:
                apply_events(world, both[side])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    world.assert_ledger_consistent()
