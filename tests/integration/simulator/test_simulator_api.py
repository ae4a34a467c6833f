"""The API keeps its published limits and returns a 4xx for every invalid request."""

import asyncio
from typing import Any

import pytest

from tests.support.simulator_client import run_simulator, until


async def test_batch_is_all_or_nothing() -> None:
    async with run_simulator() as provider:
        # Given a valid payment, one to an unknown recipient, and one to an unverified recipient
        good = {"recipientId": await provider.recipient(), "amount": 5}
        unknown = {"recipientId": "rec_unknown", "amount": 5}
        pending = (await provider.post("/recipients", {"name": "P", "email": "p+kyc_pending@example.com"})).data
        unverified = {"recipientId": pending["id"], "amount": 5}
        # When a batch contains them
        invalid = await provider.post("/batches", {"name": "b", "payments": [good, unknown]})
        too_early = await provider.post("/batches", {"name": "b", "payments": [good, good, unverified]})
        # Then the error names the payment, and nothing was created
        assert (invalid.status, invalid.error["code"]) == (422, "INVALID_RECIPIENT")
        assert invalid.error["details"]["field"] == "payments[1].recipientId"
        assert too_early.error["code"] == "PAYMENT_METHOD_NOT_VERIFIED"
        assert too_early.error["details"]["field"] == "payments[2].recipientId"
        record = await provider.record()
        assert (record["payments"], record["batches"]) == ([], [])


async def test_batch_limits() -> None:
    async with run_simulator(starting_balance_cents=200_000_000) as provider:
        payment = {"recipientId": await provider.recipient(), "amount": 100_000}

        async def send_batch(payments: list[Any]) -> Any:
            return await provider.post("/batches", {"name": "b", "payments": payments})

        # When batches are at and beyond the limits
        replies = [
            await send_batch([]),
            await send_batch([payment] * 1_001),
            await send_batch([payment] * 1_000 + []),
            await send_batch([{**payment, "amount": 100_000_001}]),
            await send_batch([{**payment, "amount": 0}]),
            await send_batch([{**payment, "amount": 100_000_000}, {**payment, "amount": 1}]),
        ]
        # Then only the one within the limits is accepted
        assert [reply.status for reply in replies] == [400, 400, 201, 400, 400, 400]
        assert {reply.error["code"] for reply in replies if reply.status == 400} == {"VALIDATION_ERROR"}
        assert replies[4].error["errorId"] == "PAYMENT_INVALID_AMOUNT"
        made = replies[2].data
        assert (made["paymentCount"], made["totalAmount"], len(made["payments"])) == (1_000, 100_000_000, 1_000)


async def test_batch_is_rejected_unless_the_balance_covers_all_of_it() -> None:
    async with run_simulator(starting_balance_cents=14) as provider:
        payment = {"recipientId": await provider.recipient(), "amount": 5}
        # Given money for two of three payments
        rejected = await provider.post("/batches", {"name": "b", "payments": [payment] * 3})
        assert rejected.error["details"] == {"available": 14, "required": 15}
        # When it is held, it locks nothing; its release needs the money
        held = (await provider.post("/batches", {"name": "b", "hold": True, "payments": [payment] * 3})).data
        assert (held["status"], await provider.balance()) == ("held", (14, 0, 0))
        release = f"/batches/{held['id']}/release"
        assert (await provider.post(release, {})).error["code"] == "INSUFFICIENT_BALANCE"
        await provider.control("POST", "/balance", {"mode": "test", "amount": 1})
        # Then it is sent once, and not twice
        assert (await provider.post(release, {})).data["status"] == "processing"
        assert (await provider.post(release, {})).status == 409

        async def is_completed() -> Any:
            return (await provider.get(f"/batches/{held['id']}")).data["status"] == "completed"

        await until(is_completed)
        assert await provider.balance() == (0, 0, 0)


async def test_deleted_batch_is_not_found_and_its_payments_are_canceled() -> None:
    async with run_simulator() as provider:
        payment = {"recipientId": await provider.recipient(), "amount": 5}
        held = (await provider.post("/batches", {"name": "b", "hold": True, "payments": [payment]})).data
        # When it is deleted
        deleted = await provider.call("DELETE", f"/api/v1/batches/{held['id']}")
        # Then it is not found
        assert deleted.data == {"id": held["id"], "deleted": True}
        assert (await provider.get(f"/batches/{held['id']}")).status == 404
        assert (await provider.get("/batches")).data == []
        assert (await provider.get(f"/payments/{held['payments'][0]['id']}")).data["status"] == "canceled"


async def test_requests_and_funding_are_limited_by_key() -> None:
    async with run_simulator(requests_per_hour=8, funding_per_minute=2) as provider:
        topup = {"amount": 5, "fundingSourceId": "fs"}
        # When a key tops up three times, then makes other calls
        funded = [(await provider.post("/balance/topup", topup, key=f"k{number}")) for number in range(3)]
        asked = [await provider.get("/balance/summary") for _ in range(6)]
        # Then the third top-up and the ninth request are rejected with a Retry-After
        assert [reply.status for reply in funded] == [201, 201, 429]
        assert 1 <= int(funded[2].headers["Retry-After"]) <= 60
        assert [reply.status for reply in asked] == [200] * 5 + [429]
        assert 1 <= int(asked[5].headers["Retry-After"]) <= 3_600
        assert asked[5].error["code"] == "RATE_LIMIT_EXCEEDED"
        # And the other mode's key has its own limit; a rejected call created nothing
        assert (await provider.get("/balance/summary", api_key="psk_live_simulator")).status == 200
        assert len((await provider.record())["topups"]) == 2


async def test_payment_methods_can_be_added_and_deleted() -> None:
    async with run_simulator() as provider:
        # Given a recipient with a bank account
        account = {"accountNumber": "000123456789", "routingNumber": "021000021", "accountHolderName": "A Driver"}
        body = {"name": "A", "email": "a@example.com", "externalId": "drv_1", "bankAccount": account}
        recipient = (await provider.post("/recipients", body)).data
        path = f"/recipients/{recipient['id']}/payment-methods"
        first = await provider.until_method(recipient["id"], "verified")
        assert (first["type"], first["last4"], first["isDefault"]) == ("bank_account", "6789", True)
        # When a Plaid account is added and made the default
        second = (await provider.post(path, {"plaidToken": "public-1"})).data
        assert (second["status"], second["isDefault"]) == ("verified", False)
        await provider.call("PATCH", f"/api/v1{path}/{second['id']}", {"isDefault": True})
        assert [method["isDefault"] for method in (await provider.get(path)).data] == [False, True]
        # Then deleting it makes the other one the default again
        await provider.call("DELETE", f"/api/v1{path}/{second['id']}")
        assert [(method["id"], method["isDefault"]) for method in (await provider.get(path)).data] == [
            (first["id"], True)
        ]
        # And no account number was stored
        assert b"000123456789" not in (await provider.call("GET", "/control/record", api_key=None)).content


async def test_payment_to_an_unverified_recipient_is_rejected() -> None:
    async with run_simulator() as provider:
        rejected = (await provider.post("/recipients", {"name": "R", "email": "r+kyc_rejected@example.com"})).data
        pending = (await provider.post("/recipients", {"name": "P", "email": "p+kyc_pending@example.com"})).data
        await provider.until_method(rejected["id"], "rejected")
        await provider.until_method(pending["id"], "pending")
        for recipient in (rejected, pending):
            reply = await provider.post("/payments", {"recipientId": recipient["id"], "amount": 5})
            assert (reply.status, reply.error["code"]) == (422, "PAYMENT_METHOD_NOT_VERIFIED")


async def test_lists_are_paged_and_filtered() -> None:
    async with run_simulator() as provider:
        # Given seven payments to two recipients
        first, second = await provider.recipient(), await provider.recipient()
        made = [(await provider.pay(first if number % 2 else second, 10 + number))["id"] for number in range(7)]
        # When they are read in pages of three
        seen: list[str] = []
        cursor = ""
        while cursor is not None:
            reply = await provider.get(f"/payments?limit=3&cursor={cursor}")
            seen += [payment["id"] for payment in reply.data]
            cursor = reply.json["meta"]["nextCursor"]
        # Then each is listed once, newest first
        assert seen == made[::-1]
        assert len((await provider.get(f"/payments?recipientId={first}")).data) == 3
        for payment_id in made:
            await provider.until_payment(payment_id, "completed")
        assert len((await provider.get("/payments?status=completed")).data) == 7
        assert (await provider.get("/payments?status=failed")).data == []
        at = (await provider.get(f"/payments/{made[3]}")).data["createdAt"]
        since = (await provider.get(f"/payments?startDate={at}")).data
        until_then = (await provider.get(f"/payments?endDate={at}")).data
        assert made[3] in {payment["id"] for payment in since} & {payment["id"] for payment in until_then}
        assert len(since) + len(until_then) >= 8
        assert (await provider.get("/payments?startDate=2990-01-01")).data == []


@pytest.mark.parametrize(
    ("path", "content", "error_id"),
    [
        ("/payments", b"", "INVALID_JSON"),
        ("/payments", b'{"amount": 1', "INVALID_JSON"),
        ("/payments", b'{"recipientId": "\\ud800", "amount": 1}', "INVALID_JSON"),
        ("/payments", b'{"recipientId": "\xff", "amount": 1}', "INVALID_JSON"),
        ("/payments", b'{"metadata": {"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}", "INVALID_JSON"),
        ("/payments", b"[]", "PAYMENT_INVALID_BODY"),
        ("/payments", b'{"recipientId": "rec_1"}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": "rec_1", "amount": -5}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": "rec_1", "amount": 5.5}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": "rec_1", "amount": "5"}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": "rec_1", "amount": true}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": "rec_1", "amount": 1e30}', "PAYMENT_INVALID_AMOUNT"),
        ("/payments", b'{"recipientId": 7, "amount": 5}', "PAYMENT_INVALID_RECIPIENT_ID"),
        ("/payments", b'{"recipientId": "rec_1", "amount": 5, "currency": "eur"}', "PAYMENT_INVALID_CURRENCY"),
        ("/payments", b'{"recipientId": "rec_1", "amount": 5, "rail": "pigeon"}', "PAYMENT_INVALID_RAIL"),
        ("/batches", b'{"name": "b", "payments": {}}', "BATCH_INVALID_PAYMENTS"),
        ("/batches", b'{"name": "b", "payments": [7]}', "PAYMENT_INVALID_PAYMENTS"),
        ("/recipients", b'{"name": "A", "email": "invalid"}', "RECIPIENT_INVALID_EMAIL"),
        ("/balance/topup", b'{"amount": 0, "fundingSourceId": "fs"}', "TOPUP_INVALID_AMOUNT"),
    ],
)
async def test_invalid_body_is_rejected(path: str, content: bytes, error_id: str) -> None:
    async with run_simulator() as provider:
        reply = await provider.call("POST", f"/api/v1{path}", content=content)
        assert (reply.status, reply.error["code"], reply.error["errorId"]) == (400, "VALIDATION_ERROR", error_id)


async def test_invalid_request_gets_its_status() -> None:
    async with run_simulator() as provider:
        expected = {
            ("GET", "/payments?limit=0"): 400,
            ("GET", "/payments?limit=101"): 400,
            ("GET", "/payments?limit=x"): 400,
            ("GET", "/payments?cursor=x"): 400,
            ("GET", "/payments?status=lost"): 400,
            ("GET", "/payments?startDate=yesterday"): 400,
            ("GET", "/payments?recipientId=%ff%00"): 200,
            ("GET", "/payments/%00%ff"): 404,
            ("GET", "/balance/transactions?type=gift"): 400,
            ("GET", "/payments/pay_none"): 404,
            ("POST", "/payments/pay_none/cancel"): 404,
            ("POST", "/payments/pay_none/retry"): 404,
            ("POST", "/batches/batch_none/release"): 404,
            ("DELETE", "/batches/batch_none"): 404,
            ("GET", "/nothing"): 404,
            ("DELETE", "/payments"): 405,
        }
        for (method, path), status in expected.items():
            reply = await provider.call(method, f"/api/v1{path}")
            assert reply.status == status, (method, path, reply.content)
            assert "error" in reply.json or status == 200
        for api_key in (None, "", "psk_test_other"):
            reply = await provider.get("/balance/summary", api_key=api_key)
            assert (reply.status, reply.error["code"]) == (401, "UNAUTHORIZED")
        long = await provider.call("POST", "/api/v1/payments", content=b" " * (5 * 1024 * 1024))
        assert (long.status, long.error["code"]) == (413, "PAYLOAD_TOO_LARGE")
        key = await provider.call("POST", "/api/v1/payments", {}, key="k" * 300)
        assert key.error["errorId"] == "INVALID_IDEMPOTENCY_KEY"


async def test_concurrent_clients_get_their_own_responses() -> None:
    async with run_simulator() as provider:
        # When two hundred payments are requested at once
        recipient_id = await provider.recipient()
        made = await asyncio.gather(*(provider.pay(recipient_id, 1 + n, key=f"k{n}") for n in range(200)))
        # Then each response has its own amount, and each payment is stored once
        assert [payment["amount"] for payment in made] == list(range(1, 201))
        kept = (await provider.record())["payments"]
        assert sorted((payment["idempotencyKey"], payment["amount"]) for payment in kept) == sorted(
            (f"k{n}", 1 + n) for n in range(200)
        )


async def test_control_can_be_disabled() -> None:
    async with run_simulator(control=False) as provider:
        assert (await provider.call("GET", "/control/record")).status == 404
        assert (await provider.call("GET", "/health", api_key=None)).json == {"status": "healthy"}


async def test_event_without_a_receiver_is_rejected() -> None:
    async with run_simulator(webhook_url=None) as provider:
        reply = await provider.call("POST", "/control/webhooks/send", {"type": "payment.failed", "data": {}})
        assert (reply.status, reply.error["code"]) == (409, "NO_RECEIVER")
