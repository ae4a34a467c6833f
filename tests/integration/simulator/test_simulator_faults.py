"""Each fault does what the README's table says."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.support.simulator_client import Reply, SimulatorClient, run_simulator, until, webhook_receiver


async def _send_with_fault(provider: SimulatorClient, fault: str, key: str = "k") -> Reply:
    body = {"recipientId": await provider.recipient(), "amount": 900, "rail": "rtp", "metadata": {"simulate": fault}}
    return await provider.post("/payments", body, key=key)


async def test_reject_returns_the_code_and_creates_nothing() -> None:
    async with run_simulator() as provider:
        # When a payment requests a rejection
        reply = await _send_with_fault(provider, "reject:COMPLIANCE_HOLD")
        # Then it is rejected
        assert (reply.status, reply.error["code"]) == (422, "COMPLIANCE_HOLD")
        assert (await provider.record())["payments"] == []


async def test_fail_ends_the_payment_with_its_code_and_unlocks_its_money() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a payment with the fault
        payment = (await _send_with_fault(provider, "fail:BANK_REJECTED")).data
        # When it has failed
        failed = await provider.until_payment(payment["id"], "failed")
        await receiver.until_received(payment["id"], "payment.failed")
        # Then it and its event have the reason, and the money is unlocked
        assert (failed["failureCode"], failed["failureReason"]) == ("BANK_REJECTED", "Account closed")
        data = receiver.about(payment["id"])[-1].body["data"]
        assert (data["status"], data["failureCode"], data["failureReason"]) == (
            "failed",
            "BANK_REJECTED",
            "Account closed",
        )
        assert await provider.balance() == (1_000_000_00, 0, 0)


@pytest.mark.parametrize("fault", ["timeout_after_accept", "error_500_after_accept"])
async def test_retry_gets_the_response_that_was_lost(fault: str) -> None:
    async with run_simulator(fault_timeout_seconds=0.05) as provider:
        # Given a payment that was processed without a response
        recipient_id = await provider.recipient()
        body = {"recipientId": recipient_id, "amount": 900, "metadata": {"simulate": fault}}
        if fault == "timeout_after_accept":
            with pytest.raises(aiohttp.ClientError):
                await provider.post("/payments", body, key="k")
        else:
            assert (await provider.post("/payments", body, key="k")).status == 500
        (kept,) = (await provider.record())["payments"]
        # When the call is repeated with its key
        again = await provider.post("/payments", body, key="k")
        # Then the response has the first payment
        assert (again.status, again.data["id"]) == (201, kept["id"])
        assert len((await provider.record())["payments"]) == 1


@pytest.mark.parametrize("fault", ["timeout_before_accept", "error_500", "rate_limited"])
async def test_call_that_was_not_processed_succeeds_on_retry(fault: str) -> None:
    async with run_simulator(fault_timeout_seconds=0.05) as provider:
        # Given a call that was not processed
        recipient_id = await provider.recipient()
        body = {"recipientId": recipient_id, "amount": 900, "metadata": {"simulate": [fault]}}
        if fault == "timeout_before_accept":
            with pytest.raises(aiohttp.ClientError):
                await provider.post("/payments", body, key="k")
        else:
            first = await provider.post("/payments", body, key="k")
            assert first.status == (500 if fault == "error_500" else 429)
            assert first.headers.get("Retry-After") == ("1" if fault == "rate_limited" else None)
        assert (await provider.record())["payments"] == []
        # When it is repeated with its key
        again = await provider.post("/payments", body, key="k")
        # Then it is processed
        assert again.status == 201
        assert len((await provider.record())["payments"]) == 1


async def test_timeout_ends_when_the_client_disconnects() -> None:
    async with run_simulator(fault_timeout_seconds=60) as provider:
        # Given a client that disconnects first
        recipient_id = await provider.recipient()
        body = {"recipientId": recipient_id, "amount": 900, "metadata": {"simulate": "timeout_after_accept"}}
        with pytest.raises(TimeoutError):
            await provider.post("/payments", body, key="k", timeout_seconds=0.1)

        # Then the provider ends the call
        async def is_over() -> Any:
            return (await provider.control("GET", "/stats"))["calls"].get("POST /payments") == {"no answer": 1}

        await until(is_over)


async def test_slow_delays_the_response() -> None:
    async with run_simulator() as provider:
        # When a payment requests a slow response
        started_at = asyncio.get_running_loop().time()
        reply = await _send_with_fault(provider, "slow:0.2")
        # Then the response is late
        assert reply.status == 201
        assert asyncio.get_running_loop().time() - started_at >= 0.2


async def test_stuck_payment_settles_only_by_hand() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a stuck payment, and a later one without a fault
        stuck = (await _send_with_fault(provider, "stuck")).data
        healthy = (await _send_with_fault(provider, "duplicate_webhook", key="other")).data
        # When the later one is completed
        await receiver.until_received(healthy["id"], "payment.completed", times=2)
        # Then the stuck one stays until it is ended by hand
        assert (await provider.get(f"/payments/{stuck['id']}")).data["status"] == "processing"
        await provider.control("POST", f"/payments/{stuck['id']}/complete", {})
        assert (await provider.get(f"/payments/{stuck['id']}")).data["status"] == "completed"
        assert await provider.balance() == (1_000_000_00 - 1_800, 0, 0)


async def test_return_follows_completion_and_credits_the_money() -> None:
    async with webhook_receiver() as receiver, run_simulator(webhook_url=receiver.url) as provider:
        # Given a payment with the fault
        payment = (await _send_with_fault(provider, "return:R02")).data
        # When it is returned
        await receiver.until_received(payment["id"], "payment.returned")
        # Then it was completed before, and the money is credited
        assert receiver.event_types_of(payment["id"])[-2:] == ["payment.completed", "payment.returned"]
        assert receiver.about(payment["id"])[-1].body["data"]["failureCode"] == "R02"
        assert await provider.balance() == (1_000_000_00, 0, 0)
        (kept,) = (await provider.record())["payments"]
        assert [stage["status"] for stage in kept["history"]] == [
            "created",
            "validated",
            "queued",
            "processing",
            "sent",
            "completed",
            "returned",
        ]


async def test_faults_in_a_batch_are_requested_in_descriptions() -> None:
    async with run_simulator(fault_timeout_seconds=0.05) as provider:
        # Given a batch with one failing payment and a lost response
        recipient_id = await provider.recipient()
        lines = [
            {"recipientId": recipient_id, "amount": 10, "description": "load 7 [simulate:fail:R03]"},
            {"recipientId": recipient_id, "amount": 20, "description": "[simulate:error_500_after_accept]"},
        ]
        body = {"name": "b", "payments": lines}
        assert (await provider.post("/batches", body, key="b")).status == 500
        # When it is retried and has settled
        batch = (await provider.post("/batches", body, key="b")).data
        first, second = batch["payments"]
        failed = await provider.until_payment(first["id"], "failed")
        await provider.until_payment(second["id"], "completed")
        # Then that payment failed, and the batch exists once
        assert failed["failureCode"] == "R03"
        assert len((await provider.get("/batches")).data) == 1


async def test_unknown_fault_is_rejected() -> None:
    async with run_simulator() as provider:
        for fault in ("explode", "fail", "slow:much", "stuck:now", 7):
            reply = await _send_with_fault(provider, fault)  # type: ignore[arg-type]
            assert (reply.status, reply.error["errorId"]) == (400, "SIMULATE_UNKNOWN_FAULT")
            reply = await provider.call("POST", "/control/faults", {"fault": fault})
            assert reply.status == 400


async def test_rule_ends_after_its_number_of_hits() -> None:
    async with run_simulator() as provider:
        # Given a rule that rejects two payments to one recipient
        chosen, other = await provider.recipient(), await provider.recipient()
        rule = {
            "fault": "reject:RAIL_UNAVAILABLE",
            "times": 2,
            "endpoint": "payments",
            "match": {"recipientId": chosen},
        }
        made = await provider.control("POST", "/faults", rule)
        # When both are paid three times
        statuses = {}
        for recipient_id in (chosen, other):
            body = {"recipientId": recipient_id, "amount": 1}
            statuses[recipient_id] = [(await provider.post("/payments", body)).status for _ in range(3)]
        # Then two were rejected
        assert statuses == {chosen: [422, 422, 201], other: [201, 201, 201]}
        (listed,) = (await provider.control("GET", "/faults"))["faults"]
        assert (listed["id"], listed["hits"]) == (made["id"], 2)
        await provider.control("DELETE", f"/faults/{made['id']}")
        assert (await provider.control("GET", "/faults"))["faults"] == []


async def test_outage_rule_applies_to_retries_too() -> None:
    async with run_simulator() as provider:
        # Given an outage of everything
        recipient_id = await provider.recipient()
        await provider.control("POST", "/faults", {"fault": "error_500", "oncePerKey": False})
        body = {"recipientId": recipient_id, "amount": 1}
        # When one call is retried, and other calls are made
        statuses = [(await provider.post("/payments", body, key="k")).status for _ in range(3)]
        statuses.append((await provider.get("/balance/summary")).status)
        # Then none succeeds until the outage ends
        assert statuses == [500] * 4
        await provider.control("DELETE", "/faults")
        assert (await provider.post("/payments", body, key="k")).status == 201


async def test_rule_of_a_payment_fault_applies_to_each_payment_of_a_batch() -> None:
    async with run_simulator() as provider:
        # Given a rule that matches descriptions
        recipient_id = await provider.recipient()
        rule = {"fault": "fail:R16", "endpoint": "batches", "match": {"descriptionContains": "frozen"}}
        await provider.control("POST", "/faults", rule)
        # When a batch has two matching payments and another one
        lines = [{"recipientId": recipient_id, "amount": 5, "description": text} for text in ("frozen", "ok", "frozen")]
        batch = (await provider.post("/batches", {"name": "b", "payments": lines})).data
        # Then those two fail
        for payment, status in zip(batch["payments"], ("failed", "completed", "failed"), strict=True):
            await provider.until_payment(payment["id"], status)
