"""Does every event arrive, signed, at least once, and in the order or disorder that was asked for?"""

import hashlib
import hmac
from pathlib import Path

import aiohttp
from paystream_world import SECRET, Notice, Paystream, PaystreamProcess, paystream, receiver, until

LIFE = ["payment.created", "payment.processing", "payment.completed"]


def _is_signed(notice: Notice) -> bool:
    at, digest = (part.split("=")[1] for part in notice.signature.split(","))
    expected = hmac.new(SECRET.encode(), at.encode() + b"." + notice.raw, hashlib.sha256).hexdigest()
    return hmac.compare_digest(digest, expected)


async def test_events_come_signed_and_in_order() -> None:
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        # When ten payments are completed
        recipient_id = await provider.recipient()
        payments = [await provider.pay(recipient_id, 100 + number) for number in range(10)]
        for payment in payments:
            await told.until_received(payment["id"], "payment.completed")
        # Then each told its life in order, every event signed and with an id of its own
        for payment in payments:
            notices = told.about(payment["id"])
            assert [notice.type for notice in notices] == LIFE
            last = notices[-1].body
            assert last["data"] == {"paymentId": payment["id"], "amount": payment["amount"], "status": "completed"}
            assert set(last) == {"id", "type", "data", "timestamp"}
        assert all(map(_is_signed, told.notices))
        assert len({notice.body["id"] for notice in told.notices}) == 30


async def test_refusing_receiver_is_asked_again_until_it_accepts() -> None:
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        # Given a receiver that refuses everything
        told.status = 503
        payment = await provider.pay(await provider.recipient())
        await told.until_received(payment["id"], "payment.created")
        # When it accepts again
        told.status = 200
        await told.until_received(payment["id"], "payment.completed")
        # Then the refused event came twice with one id, the rest after it
        notices = told.about(payment["id"])
        assert [notice.type for notice in notices] == ["payment.created", *LIFE]
        assert notices[0].body["id"] == notices[1].body["id"]
        assert 0.4 < notices[1].at - notices[0].at < 2.0


async def test_undelivered_events_survive_kill_9(tmp_path: Path) -> None:
    record = tmp_path / "paystream.db"
    async with receiver() as told, aiohttp.ClientSession() as session:
        # Given a completed payment whose events nobody took, in a process that is killed
        told.status = 500
        with PaystreamProcess(record, webhook_url=told.url) as process:
            provider = Paystream(await process.url(), session)
            payment = await provider.pay(await provider.recipient())
            await provider.until_payment(payment["id"], "completed")
            process.kill()
        # When the next process finds a receiver that takes them
        told.status, told.notices = 200, []
        with PaystreamProcess(record, webhook_url=told.url) as process:
            await process.url()
            await told.until_received(payment["id"], "payment.completed")
        # Then all came, in order; what it was about to tell when it was killed perhaps twice
        assert list(dict.fromkeys(told.event_types_of(payment["id"]))) == LIFE


async def _story(fault: str, last: str = "payment.completed", times: int = 1) -> list[Notice]:
    """What a receiver hears of a payment with a fault."""
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        recipient_id = await provider.recipient()
        payment = await provider.pay(recipient_id, metadata={"simulate": fault})
        await told.until_received(payment["id"], last, times)

        async def is_quiet() -> bool:
            webhooks = (await provider.record())["webhooks"]
            return bool(webhooks["pending"] == 0)

        await until(is_quiet)
        return told.about(payment["id"])


async def test_duplicate_webhook() -> None:
    # When every event is sent twice
    notices = await _story("duplicate_webhook", times=2)
    # Then each comes twice, with one id and the same bytes
    assert [notice.type for notice in notices] == [kind for kind in LIFE for _ in range(2)]
    assert len({notice.raw for notice in notices}) == 3


async def test_late_webhook() -> None:
    # When the events are late
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        payment = await provider.pay(await provider.recipient(), metadata={"simulate": "late_webhook:0.3"})
        await provider.until_payment(payment["id"], "completed")
        # Then the payment is completed before anyone hears of it
        assert told.notices == []
        await told.until_received(payment["id"], "payment.completed")
        assert told.event_types_of(payment["id"]) == LIFE


async def test_reorder_webhooks() -> None:
    assert [notice.type for notice in await _story("reorder_webhooks", last="payment.created")] == LIFE[::-1]


async def test_lost_webhook() -> None:
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        # Given a payment whose events are lost, and one after it
        recipient_id = await provider.recipient()
        lost = await provider.pay(recipient_id, metadata={"simulate": "lost_webhook"})
        other = await provider.pay(recipient_id)
        # When both are completed
        await provider.until_payment(lost["id"], "completed")
        await told.until_received(other["id"], "payment.completed")
        # Then nothing was heard of the first
        assert told.about(lost["id"]) == []
        assert (await provider.record())["webhooks"]["lost"] == 3


async def test_forged_webhook() -> None:
    # When a forger is about
    notices = await _story("forged_webhook")
    # Then a badly signed failure comes before the truth
    assert [(notice.type, _is_signed(notice)) for notice in notices] == [
        ("payment.created", True),
        ("payment.failed", False),
        ("payment.processing", True),
        ("payment.completed", True),
    ]


async def test_only_chosen_events_are_sent() -> None:
    async with receiver() as told, paystream(webhook_url=told.url, webhook_events=("payment.completed",)) as provider:
        payment = await provider.pay(await provider.recipient())
        await told.until_received(payment["id"], "payment.completed")
        assert told.event_types_of(payment["id"]) == ["payment.completed"]


async def test_pause_resume_and_an_event_of_the_tests_own() -> None:
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        # Given paused webhooks
        await provider.control("POST", "/webhooks/pause")
        sent = await provider.control(
            "POST", "/webhooks/send", {"type": "payment.returned", "data": {"paymentId": "pay_none"}, "id": "evt_mine"}
        )
        payment = await provider.pay(await provider.recipient())
        await provider.until_payment(payment["id"], "completed")
        assert told.notices == []
        # When they go on
        resumed = await provider.control("POST", "/webhooks/resume")
        await told.until_received(payment["id"], "payment.completed")
        # Then everything held back arrives
        assert sent == {"id": "evt_mine"}
        assert resumed["paused"] is False
        assert told.event_types_of("pay_none") == ["payment.returned"]


async def test_batch_events() -> None:
    async with receiver() as told, paystream(webhook_url=told.url) as provider:
        # Given a held batch, released
        line = {"recipientId": await provider.recipient(), "amount": 5}
        batch = (await provider.post("/batches", {"name": "b", "hold": True, "payments": [line]})).data
        await provider.post(f"/batches/{batch['id']}/release", {})
        await told.until_received(batch["id"], "batch.completed")
        await told.until_received(
            batch["payments"][0]["id"], "payment.completed"
        )  # events of two subjects come in any order
        # Then it told its life, and its payment told its own
        assert told.event_types_of(batch["id"]) == ["batch.created", "batch.released", "batch.completed"]
        assert told.event_types_of(batch["payments"][0]["id"]) == LIFE
