"""Faults of the provider: rejections, errors, timeouts, errors after the payment, and webhooks in any order.

In every case the driver is paid once, or the money is released.
"""

import pytest

from tests.support import ledger, provider_webhooks
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

AMOUNT_CENTS, FEE_CENTS, NET_CENTS = 45_000, 250, 44_750
RESERVED = ("available", "in_transit", AMOUNT_CENTS)
RELEASED = ("in_transit", "available", AMOUNT_CENTS)
RETURNED = ("external", "available", NET_CENTS)
COMPLETED = sorted(ledger.transfers_of_completed(AMOUNT_CENTS, FEE_CENTS))
# Polling begins some seconds after the submission.
POLLED_SECONDS = 30


@pytest.fixture
def books(fast_stack: Stack) -> str:
    return str(fast_stack["database_url"])


@pytest.mark.parametrize("urgency", ["standard", "instant"])
def test_definite_rejection_fails_the_payout_and_releases_the_money(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, urgency: str
) -> None:
    # Given a provider that rejects the payment
    before = fast_customer.balance()
    description = f"rejected {urgency}"
    with paystream.misbehaving("reject:COMPLIANCE_HOLD", description):
        # When the payout is submitted
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description=description, urgency=urgency)
        failed = fast_customer.until_payout(payout["id"], "failed")
    # Then it has failed with a reason, and nothing was paid
    assert failed["failure"]["code"] == "COMPLIANCE_HOLD"
    assert not failed.get("completedAt")
    assert paystream.payments_described(description) == []
    # and the money is released
    assert fast_customer.balance() == before
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED, RELEASED]
    ledger.assert_ledger_consistent(books)


def test_payment_that_fails_later_fails_the_payout_and_releases_the_money(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a payment that the provider accepts and the bank rejects
    before = fast_customer.balance()
    with paystream.misbehaving("fail:BANK_REJECTED", "fails later"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="fails later")
        # When the provider reports it
        failed = fast_customer.until_payout(payout["id"], "failed", POLLED_SECONDS)
    # Then the payout has failed with that reason, and the money is released
    assert failed["failure"]["code"] == "BANK_REJECTED"
    assert fast_customer.balance() == before
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED, RELEASED]
    ledger.assert_ledger_consistent(books)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("timeout_after_accept", id="accepted, then no response"),
        pytest.param("error_500_after_accept", id="accepted, then a 500"),
        pytest.param("timeout_before_accept", id="not accepted, no response"),
        pytest.param("error_500", id="not accepted, a 500"),
        pytest.param("rate_limited", id="429"),
    ],
)
def test_unknown_outcome_ends_in_one_payment(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, fault: str
) -> None:
    # Given a provider whose first response for each payment leaves the outcome unknown
    before_cents = fast_customer.available_cents()
    with paystream.misbehaving(fault, fault):
        # When two payouts are submitted, one in a batch and one alone
        payouts = [
            fast_customer.pay(fast_driver_id, AMOUNT_CENTS, urgency=urgency, description=f"{fault} {urgency}")
            for urgency in ("standard", "instant")
        ]
        # Then they never fail, and complete
        completed = [fast_customer.until_payout(each["id"], "completed", POLLED_SECONDS) for each in payouts]
    # and each was paid once, by the wallet and by the provider
    for payout in completed:
        (payment,) = paystream.payments_described(payout["description"])
        assert (payment["amount"], payment["status"]) == (payout["netAmount"], "completed")
        moved = ledger.transfers_of(books, payout["id"])
        assert sorted(moved) == sorted(ledger.transfers_of_completed(AMOUNT_CENTS, payout["fee"]))
    assert fast_customer.available_cents() == before_cents - 2 * AMOUNT_CENTS
    ledger.assert_ledger_consistent(books)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("duplicate_webhook", id="duplicate"),
        pytest.param("late_webhook:2", id="late"),
        pytest.param("lost_webhook", id="lost: found by polling"),
        pytest.param("reorder_webhooks", id="reordered"),
        pytest.param("forged_webhook", id="forged"),
    ],
)
def test_payout_completes_once_whatever_the_webhooks(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, fault: str
) -> None:
    # Given a provider whose webhooks for a payment misbehave
    before_cents = fast_customer.available_cents()
    with paystream.misbehaving(fault, fault):
        # When a payout is paid
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description=fault)
        # Then it completes
        fast_customer.until_payout(payout["id"], "completed", POLLED_SECONDS)
    # and stays completed, once, when the last webhook has arrived
    until(paystream.webhooks_settled, "every webhook is delivered")
    assert fast_customer.payout(payout["id"])["status"] == "completed"
    assert sorted(ledger.transfers_of(books, payout["id"])) == COMPLETED
    assert fast_customer.available_cents() == before_cents - AMOUNT_CENTS
    assert len(paystream.payments_described(fault)) == 1
    # and no webhook with a wrong signature was accepted
    assert paystream.stats()["webhooks"]["forgedAccepted"] == 0
    ledger.assert_ledger_consistent(books)


def test_webhook_with_a_wrong_signature_completes_nothing(
    fast_stack: Stack, fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a payment that is not completed
    with paystream.misbehaving("stuck", "forged end"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="forged end")
        (payment,) = until(lambda: paystream.payments_described("forged end"), "the provider has it")
    # When a webhook with a guessed secret says that it is completed
    data = {"paymentId": payment["id"], "amount": NET_CENTS, "status": "completed"}
    forged = {"id": "evt_forged", "type": "payment.completed", "data": data, "timestamp": "2026-02-08T10:00:00Z"}
    answer = provider_webhooks.send_signed(fast_stack["gateway"], forged, secret="whsec_guessed")
    # Then it is rejected
    assert answer.status == 401
    assert fast_customer.payout(payout["id"])["status"] in ("queued", "processing")
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED]
    # and the provider's own webhook completes the payout
    paystream.complete(payment["id"])
    fast_customer.until_payout(payout["id"], "completed", POLLED_SECONDS)
    assert sorted(ledger.transfers_of(books, payout["id"])) == COMPLETED


def test_return_credits_the_net_amount(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a completed payout
    before_cents = fast_customer.available_cents()
    with paystream.misbehaving("return:R03", "returned"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="returned")
        # When the bank returns it
        fast_customer.until_payout(payout["id"], "returned", POLLED_SECONDS)
    # Then the wallet has the net amount again, without the fee
    assert fast_customer.available_cents() == before_cents - AMOUNT_CENTS + NET_CENTS
    assert sorted(ledger.transfers_of(books, payout["id"])) == sorted([*COMPLETED, RETURNED])
    ledger.assert_ledger_consistent(books)
