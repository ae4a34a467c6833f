"""The balance, its statement and the payments agree, separately for each mode."""

import asyncio
from typing import Any

from tests.support.simulator_client import run_simulator, until

START_CENTS = 1_000_000_00


async def test_statement_adds_up_to_the_balance() -> None:
    async with run_simulator() as provider:
        # Given payments with every final status
        recipient_id = await provider.recipient()
        endings = [None, "fail:R01", "return:R02", "stuck", None, "fail:BANK_REJECTED"]
        payments = [
            await provider.pay(recipient_id, 1_000 + number, metadata={"simulate": ending} if ending else None)
            for number, ending in enumerate(endings)
        ]
        # When all are final
        ends = ["completed", "failed", "returned", "processing", "completed", "failed"]
        for payment, status in zip(payments, ends, strict=True):
            await provider.until_payment(payment["id"], status)
        # Then the stuck one is locked, and only the completed ones are debited
        assert await provider.balance() == (START_CENTS - 1_000 - 1_004 - 1_003, 0, 1_003)
        # And the statement entries add up to it
        entries = (await provider.get("/balance/transactions?limit=100")).data
        sign = {"lock": -1, "unlock": 1, "credit": 1, "settlement": 0}
        available_cents = START_CENTS
        for entry in reversed(entries):
            available_cents += sign[entry["type"]] * entry["amount"]
            assert entry["balanceAfter"] == available_cents
        assert available_cents == START_CENTS - 1_000 - 1_004 - 1_003
        locks = (await provider.get("/balance/transactions?type=lock&limit=100")).data
        assert [entry["reference"] for entry in locks] == [payment["id"] for payment in reversed(payments)]


async def test_payments_beyond_the_balance_are_rejected() -> None:
    async with run_simulator(starting_balance_cents=1_000) as provider:
        # Given money for two of five equal payments
        body = {"recipientId": await provider.recipient(), "amount": 400, "metadata": {"simulate": "stuck"}}
        # When all are requested at once
        replies = await asyncio.gather(*(provider.post("/payments", body) for _ in range(5)))
        # Then two are created, and the errors of the others have the available amount
        assert sorted(reply.status for reply in replies) == [201, 201, 422, 422, 422]
        refused = next(reply.error for reply in replies if reply.status == 422)
        assert refused["code"] == "INSUFFICIENT_BALANCE"
        assert refused["details"] == {"available": 200, "required": 400}
        assert await provider.balance() == (200, 0, 800)


async def test_topup_is_pending_then_available() -> None:
    async with run_simulator() as provider:
        # Given a top-up by ACH and one by RTP
        slow = (await provider.post("/balance/topup", {"amount": 500, "fundingSourceId": "fs_bank"}, key="a")).data
        fast = (await provider.post("/balance/topup", {"amount": 70, "fundingSourceId": "fs_rtp"}, key="b")).data
        assert (slow["status"], fast["status"]) == ("pending", "pending")
        assert await provider.balance() == (START_CENTS, 570, 0)

        # When the fast one, then the slow one is completed
        async def has(cents: int) -> Any:
            return (await provider.balance())[0] == START_CENTS + cents

        await until(lambda: has(70))
        assert await provider.balance() == (START_CENTS + 70, 500, 0)
        await until(lambda: has(570))
        # Then both are in the statement
        credits = (await provider.get("/balance/transactions?type=credit")).data
        assert [entry["reference"] for entry in credits] == [slow["id"], fast["id"]]


async def test_modes_share_no_data() -> None:
    async with run_simulator() as provider:
        # Given a recipient, a payment and a batch in test mode
        recipient_id = await provider.recipient()
        payment = await provider.pay(recipient_id)
        batch = (
            await provider.post("/batches", {"name": "b", "payments": [{"recipientId": recipient_id, "amount": 1}]})
        ).data
        # When live mode requests them
        live = {"api_key": "psk_live_simulator"}
        paths = (
            f"/payments/{payment['id']}",
            f"/batches/{batch['id']}",
            f"/recipients/{recipient_id}/payment-methods",
        )
        # Then they are not found, and its balance is unchanged
        assert [(await provider.get(path, **live)).status for path in paths] == [404, 404, 404]
        refused = await provider.post("/payments", {"recipientId": recipient_id, "amount": 1}, **live)
        assert (refused.status, refused.error["code"]) == (422, "INVALID_RECIPIENT")
        assert (await provider.get("/payments", **live)).data == []
        assert await provider.balance(**live) == (START_CENTS, 0, 0)


async def test_cancel_before_processing_and_retry_after_failure() -> None:
    async with run_simulator(rtp_seconds=60, retry_gap_seconds=0.0) as provider:
        # Given a payment that is not processed yet, and one that fails
        recipient_id = await provider.recipient()
        waiting = await provider.pay(recipient_id, 300)
        failing = await provider.pay(recipient_id, 400, rail="standard", metadata={"simulate": "fail:R03"})
        failed = await provider.until_payment(failing["id"], "failed")
        # When the first is canceled and the second retried
        canceled = (await provider.post(f"/payments/{waiting['id']}/cancel", {})).data
        retried = (await provider.post(f"/payments/{failing['id']}/retry", {}, key="again")).data
        # Then the first one's money is unlocked, and the second one's retry succeeds
        assert (failed["failureCode"], canceled["status"], retried["status"]) == ("R03", "canceled", "created")
        await provider.until_payment(failing["id"], "completed")
        assert await provider.balance() == (START_CENTS - 400, 0, 0)
        # And neither can be repeated
        for action in ("cancel", "retry"):
            reply = await provider.post(f"/payments/{failing['id']}/{action}", {})
            assert (reply.status, reply.error["code"]) == (409, "INVALID_STATE")


async def test_payment_is_retried_at_most_three_times_and_some_failures_never() -> None:
    async with run_simulator(retry_gap_seconds=0.0) as provider:
        # Given a payment that always fails, and one with a non-retryable failure
        recipient_id = await provider.recipient()
        stubborn = await provider.pay(recipient_id, metadata={"simulate": ["fail:R01"] * 4})
        held = await provider.pay(recipient_id, metadata={"simulate": "fail:COMPLIANCE_HOLD"})
        # When they are retried
        for _ in range(3):
            await provider.until_payment(stubborn["id"], "failed")
            assert (await provider.post(f"/payments/{stubborn['id']}/retry", {})).status == 200
        await provider.until_payment(stubborn["id"], "failed")
        await provider.until_payment(held["id"], "failed")
        # Then the fourth retry is rejected, and the other one at once
        fourth = await provider.post(f"/payments/{stubborn['id']}/retry", {})
        never = await provider.post(f"/payments/{held['id']}/retry", {})
        assert [fourth.error["code"], never.error["code"]] == ["RETRY_LIMIT_REACHED", "RETRY_NOT_ALLOWED"]
