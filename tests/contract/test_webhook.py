"""Webhooks from Paystream: both shapes, repeated, in any order, and malformed."""

import uuid

import pytest

from tests.support import ledger, provider_webhooks
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import PREVIOUS_WEBHOOK_SECRET, Stack


def _event(payment_id: str, status: str, amount_cents: int = 44_750) -> dict[str, object]:
    """A webhook in Paystream's native shape."""
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "type": f"payment.{status}",
        "data": {"paymentId": payment_id, "amount": amount_cents, "status": status},
        "timestamp": "2026-02-08T10:00:00Z",
    }


def test_repeated_webhook_completes_a_payout_once(stack: Stack, customer: Customer, driver_id: str) -> None:
    # Given a payment that Paystream has completed without sending a webhook
    paystream = Simulator(stack["paystream"])
    description = f"told five times {uuid.uuid4().hex}"
    with paystream.misbehaving("lost_webhook", description):
        payout = customer.pay(driver_id, 45_000, description=description)
        (payment,) = until(lambda: paystream.payments_described(description), "it is at Paystream")
        until(lambda: paystream.payments_described(description)[0]["status"] == "completed", "Paystream completed it")
        # When its webhook arrives five times, and an older one after it
        completed = _event(payment["id"], "completed")
        answers = [
            provider_webhooks.send_signed(stack["gateway"], completed, stack["webhook_secret"]) for _ in range(5)
        ]
        answers.append(
            provider_webhooks.send_signed(
                stack["gateway"], _event(payment["id"], "processing"), stack["webhook_secret"]
            )
        )
        # Then each is accepted, and the payout completes once and stays completed
        assert [answer.data for answer in answers] == [{"message": "Webhook processed"}] * 6
        customer.until_payout(payout["id"], "completed")
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=250))
    assert customer.payout(payout["id"])["status"] == "completed"


def test_webhook_of_an_unknown_payment_is_accepted(stack: Stack) -> None:
    # A webhook can arrive before our own call returns: rejecting it would only cause a repeat
    event = _event("pay_from_somewhere_else", "processing")
    assert provider_webhooks.send_signed(stack["gateway"], event, stack["webhook_secret"]).status == 200


def test_webhook_signed_with_a_dropped_secret_is_rejected(stack: Stack) -> None:
    """`fast_stack` still accepts it as its previous secret."""
    event = _event("pay_from_somewhere_else", "processing")
    assert provider_webhooks.send_signed(stack["gateway"], event, PREVIOUS_WEBHOOK_SECRET).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b'{"event": ', None, id="no JSON"),
        pytest.param(b"[]", None, id="no object"),
        pytest.param(b"{}", "event", id="neither event nor type"),
        pytest.param(b'{"event": "payout.completed"}', "data", id="no data"),
        pytest.param(b'{"event": "payout.completed", "data": {"status": "completed"}}', "payoutId", id="about nothing"),
        pytest.param(b'{"type": "payment.completed", "data": {"paymentId": 7}}', "paymentId", id="paymentId no text"),
    ],
)
def test_malformed_webhook_is_rejected(stack: Stack, body: bytes, field: str | None) -> None:
    answer = provider_webhooks.send(stack["gateway"], body, provider_webhooks.signature(body, stack["webhook_secret"]))
    assert answer.status == 400
    assert answer.error["code"] in ("VALIDATION_ERROR", "INVALID_JSON")
    assert field is None or field in answer.error["message"]
