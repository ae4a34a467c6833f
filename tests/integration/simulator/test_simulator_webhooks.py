"""Every event is delivered, signed, at least once, in order unless a fault reorders it."""

import hashlib
import hmac
from pathlib import Path

import aiohttp

from tests.support.simulator_client import (
    SECRET,
    ReceivedWebhook,
    SimulatorClient,
    SimulatorProcess,
    run_simulator,
    until,
    webhook_receiver,
)

PAYMENT_EVENTS = ["payment.created", "payment.processing", "payment.completed"]


def _is_signed(webhook: ReceivedWebhook) -> bool:
    at, digest = (part.split("=")[1] for part in webhook.signature.split(","))
    expected = hmac.new(SECRET.encode(), at.encode() + b"." + webhook.raw, hashlib.sha256).hexdigest()
    return hmac.compare_digest(digest, expected)


async def test_events_are_signed_and_in_order() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # When ten payments are completed
        recipient_id = await provider.recipient()
        payments = [await provider.pay(recipient_id, 100 + number) for number in range(10)]
        for payment in payments:
            await receiver.until_received(payment["id"], "payment.completed")
        # Then the events of each arrive in order, signed, with an id of their own
        for payment in payments:
            webhooks = receiver.about(payment["id"])
            assert [webhook.type for webhook in webhooks] == PAYMENT_EVENTS
            last = webhooks[-1].body
            assert last["data"] == {"paymentId": payment["id"], "amount": payment["amount"], "status": "completed"}
            assert set(last) == {"id", "type", "data", "timestamp"}
        assert all(map(_is_signed, receiver.webhooks))
        assert len({webhook.body["id"] for webhook in receiver.webhooks}) == 30


async def test_rejected_event_is_retried_until_accepted() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a receiver that rejects everything
        receiver.status = 503
        payment = await provider.pay(await provider.recipient())
        await receiver.until_received(payment["id"], "payment.created")
        # When it accepts again
        receiver.status = 200
        await receiver.until_received(payment["id"], "payment.completed")
        # Then the rejected event arrives twice with one id, and the others after it
        webhooks = receiver.about(payment["id"])
        assert [webhook.type for webhook in webhooks] == ["payment.created", *PAYMENT_EVENTS]
        assert webhooks[0].body["id"] == webhooks[1].body["id"]
        assert 0.4 < webhooks[1].at - webhooks[0].at < 2.0


async def test_undelivered_events_survive_kill_9(tmp_path: Path) -> None:
    record = tmp_path / "paystream.db"
    async with webhook_receiver() as receiver, aiohttp.ClientSession() as session:
        # Given a completed payment with undelivered events, in a process that is killed
        receiver.status = 500
        with SimulatorProcess(record, webhook_url=receiver.url) as process:
            provider = SimulatorClient(await process.url(), session)
            payment = await provider.pay(await provider.recipient())
            await provider.until_payment(payment["id"], "completed")
            process.kill()
        # When the next process finds a receiver that accepts them
        receiver.status, receiver.webhooks = 200, []
        with SimulatorProcess(record, webhook_url=receiver.url) as process:
            await process.url()
            await receiver.until_received(payment["id"], "payment.completed")
        # Then all arrive in order; the one in delivery at the kill may arrive twice
        assert list(dict.fromkeys(receiver.event_types_of(payment["id"]))) == PAYMENT_EVENTS


async def _received_with_fault(fault: str, last: str = "payment.completed", times: int = 1) -> list[ReceivedWebhook]:
    """Create a payment with the fault; return the webhooks that a receiver gets."""
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        recipient_id = await provider.recipient()
        payment = await provider.pay(recipient_id, metadata={"simulate": fault})
        await receiver.until_received(payment["id"], last, times)

        async def is_quiet() -> bool:
            webhooks = (await provider.record())["webhooks"]
            return bool(webhooks["pending"] == 0)

        await until(is_quiet)
        return receiver.about(payment["id"])


async def test_duplicate_webhook_sends_each_event_twice() -> None:
    # When every event is sent twice
    webhooks = await _received_with_fault("duplicate_webhook", times=2)
    # Then each arrives twice, with one id and the same bytes
    assert [webhook.type for webhook in webhooks] == [kind for kind in PAYMENT_EVENTS for _ in range(2)]
    assert len({webhook.raw for webhook in webhooks}) == 3


async def test_late_webhook_sends_events_after_completion() -> None:
    # When the events are late
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        payment = await provider.pay(await provider.recipient(), metadata={"simulate": "late_webhook:0.3"})
        await provider.until_payment(payment["id"], "completed")
        # Then the payment is completed before the first event
        assert receiver.webhooks == []
        await receiver.until_received(payment["id"], "payment.completed")
        assert receiver.event_types_of(payment["id"]) == PAYMENT_EVENTS


async def test_reorder_webhooks_sends_events_in_reverse() -> None:
    assert [
        webhook.type for webhook in await _received_with_fault("reorder_webhooks", last="payment.created")
    ] == PAYMENT_EVENTS[::-1]


async def test_lost_webhook_sends_no_event() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a payment whose events are lost, and one after it
        recipient_id = await provider.recipient()
        lost = await provider.pay(recipient_id, metadata={"simulate": "lost_webhook"})
        other = await provider.pay(recipient_id)
        # When both are completed
        await provider.until_payment(lost["id"], "completed")
        await receiver.until_received(other["id"], "payment.completed")
        # Then no event of the first arrives
        assert receiver.about(lost["id"]) == []
        assert (await provider.record())["webhooks"]["lost"] == 3


async def test_forged_webhook_sends_a_badly_signed_failure() -> None:
    # When forged events are sent
    webhooks = await _received_with_fault("forged_webhook")
    # Then a badly signed failure arrives before the real event
    assert [(webhook.type, _is_signed(webhook)) for webhook in webhooks] == [
        ("payment.created", True),
        ("payment.failed", False),
        ("payment.processing", True),
        ("payment.completed", True),
    ]


async def test_only_enabled_events_are_sent() -> None:
    async with (
        webhook_receiver() as receiver,
        run_simulator(webhook_url=receiver.url, webhook_events=("payment.completed",)) as provider,
    ):
        payment = await provider.pay(await provider.recipient())
        await receiver.until_received(payment["id"], "payment.completed")
        assert receiver.event_types_of(payment["id"]) == ["payment.completed"]


async def test_paused_webhooks_arrive_after_resume() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given paused webhooks
        await provider.control("POST", "/webhooks/pause")
        sent = await provider.control(
            "POST", "/webhooks/send", {"type": "payment.returned", "data": {"paymentId": "pay_none"}, "id": "evt_mine"}
        )
        payment = await provider.pay(await provider.recipient())
        await provider.until_payment(payment["id"], "completed")
        assert receiver.webhooks == []
        # When they are resumed
        resumed = await provider.control("POST", "/webhooks/resume")
        await receiver.until_received(payment["id"], "payment.completed")
        # Then every waiting event arrives
        assert sent == {"id": "evt_mine"}
        assert resumed["paused"] is False
        assert receiver.event_types_of("pay_none") == ["payment.returned"]


async def test_batch_sends_its_own_events() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a held batch, released
        payment = {"recipientId": await provider.recipient(), "amount": 5}
        batch = (await provider.post("/batches", {"name": "b", "hold": True, "payments": [payment]})).data
        await provider.post(f"/batches/{batch['id']}/release", {})
        await receiver.until_received(batch["id"], "batch.completed")
        await receiver.until_received(
            batch["payments"][0]["id"], "payment.completed"
        )  # events of two subjects arrive in any order
        # Then the batch and its payment have sent all their events
        assert receiver.event_types_of(batch["id"]) == ["batch.created", "batch.released", "batch.completed"]
        assert receiver.event_types_of(batch["payments"][0]["id"]) == PAYMENT_EVENTS
