"""A call with one Idempotency-Key is processed once."""

import asyncio
from pathlib import Path

import aiohttp

from tests.support.simulator_client import SimulatorClient, SimulatorProcess, run_simulator


async def test_repeat_gets_the_first_response_and_no_second_payment() -> None:
    async with run_simulator() as provider:
        # Given a payment created with a key
        body = {"recipientId": await provider.recipient(), "amount": 700}
        first = await provider.post("/payments", body, key="k-1")
        # When the call is repeated with differently formatted JSON
        reordered = {"amount": 700, "recipientId": body["recipientId"]}
        again = await provider.post("/payments", reordered, key="k-1")
        # Then the response is identical, and one payment exists
        assert (again.status, again.content) == (first.status, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len((await provider.record())["payments"]) == 1


async def test_concurrent_calls_with_one_key_create_one_payment() -> None:
    async with run_simulator() as provider:
        # Given a recipient
        body = {"recipientId": await provider.recipient(), "amount": 700}
        # When twenty calls race with one key
        replies = await asyncio.gather(*(provider.post("/payments", body, key="race") for _ in range(20)))
        # Then all return the same payment, the only one
        assert len({reply.data["id"] for reply in replies}) == 1
        assert len((await provider.record())["payments"]) == 1


async def test_key_with_another_request_is_rejected() -> None:
    async with run_simulator() as provider:
        # Given a payment created with a key
        recipient_id = await provider.recipient()
        await provider.pay(recipient_id, 700, key="k-1")
        # When the key is used with another amount, and at another path
        other_amount = await provider.post("/payments", {"recipientId": recipient_id, "amount": 701}, key="k-1")
        other_path = await provider.post("/balance/topup", {"amount": 700, "fundingSourceId": "fs"}, key="k-1")
        # Then both are rejected and nothing was processed
        assert [other_amount.status, other_path.status] == [422, 422]
        assert other_amount.error["code"] == other_path.error["code"] == "IDEMPOTENCY_KEY_REUSED"
        record = await provider.record()
        assert (len(record["payments"]), len(record["topups"])) == (1, 0)


async def test_definite_error_is_stored_with_its_key() -> None:
    async with run_simulator(starting_balance_cents=100) as provider:
        # Given a payment rejected for lack of money
        body = {"recipientId": await provider.recipient(), "amount": 500}
        first = await provider.post("/payments", body, key="poor")
        assert first.error["code"] == "INSUFFICIENT_BALANCE"
        # When the balance is credited and the call is repeated
        await provider.control("POST", "/balance", {"mode": "test", "amount": 10_000})
        again = await provider.post("/payments", body, key="poor")
        # Then the response is the same; a new key succeeds
        assert again.content == first.content
        assert (await provider.post("/payments", body, key="rich")).status == 201


async def test_modes_have_separate_keys() -> None:
    async with run_simulator() as provider:
        # Given a key used in test mode
        test_recipient = await provider.recipient()
        live_recipient = await provider.recipient(api_key="psk_live_simulator")
        await provider.pay(test_recipient, key="same")
        # When it is used in live mode
        body = {"recipientId": live_recipient, "amount": 5}
        reply = await provider.post("/payments", body, key="same", api_key="psk_live_simulator")
        # Then it is a new key
        assert reply.status == 201


async def test_responses_and_payments_survive_kill_9(tmp_path: Path) -> None:
    record = tmp_path / "paystream.db"
    async with aiohttp.ClientSession() as session:
        # Given a payment, a batch and an unsettled payment in a process that is then killed
        with SimulatorProcess(record, standard_seconds=1.0) as process:
            provider = SimulatorClient(await process.url(), session)
            recipient_id = await provider.recipient()
            body = {"recipientId": recipient_id, "amount": 700, "rail": "standard"}
            payment = await provider.post("/payments", body, key="one")
            lines = {"name": "many", "payments": [{"recipientId": recipient_id, "amount": 5}] * 3}
            batch = await provider.post("/batches", lines, key="many")
            rule = await provider.control("POST", "/faults", {"fault": "slow:1", "endpoint": "topup"})
            process.kill()
        # When the next process gets the same calls
        with SimulatorProcess(record, standard_seconds=1.0) as process:
            provider = SimulatorClient(await process.url(), session)
            payment_again = await provider.post("/payments", body, key="one")
            batch_again = await provider.post("/batches", lines, key="many")
            # Then the responses are the same, the rules are there, and the payments settle
            assert payment_again.content == payment.content
            assert batch_again.content == batch.content
            assert (await provider.control("GET", "/faults"))["faults"][0]["id"] == rule["id"]
            for made in (payment.data, *batch.data["payments"]):
                await provider.until_payment(made["id"], "completed")
            kept = await provider.record()
            assert len(kept["payments"]) == 4
            assert await provider.balance() == (1_000_000_00 - 715, 0, 0)
            # And SIGTERM stops it cleanly
            assert process.end() == 0
