"""Paystream is a stranger: it rejects, fails, times out, errs after it paid, and its webhooks come as they like.

Whatever it does, the driver is paid once or the money is back, to the cent.
"""

import pytest

from tests.support import ledger, provider_webhooks
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

AMOUNT_CENTS, FEE_CENTS, NET_CENTS = 45_000, 250, 44_750
RESERVED = ("available", "in_transit", AMOUNT_CENTS)
GIVEN_BACK = ("in_transit", "available", AMOUNT_CENTS)
RETURNED = ("external", "available", NET_CENTS)
COMPLETED = sorted(ledger.transfers_of_completed(AMOUNT_CENTS, FEE_CENTS))
# The poll finds what no webhook told; it begins some seconds after the submission.
POLLED_SECONDS = 30


@pytest.fixture
def books(fast_stack: Stack) -> str:
    return str(fast_stack["database_url"])


@pytest.mark.parametrize("urgency", ["standard", "instant"])
def test_definite_reject_fails_the_payout_and_gives_the_money_back(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, urgency: str
) -> None:
    # Given a Paystream that rejects a payment, definitely
    before = fast_customer.balance()
    story = f"rejected {urgency}"
    with paystream.misbehaving("reject:COMPLIANCE_HOLD", story):
        # When the payout is submitted
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description=story, urgency=urgency)
        failed = fast_customer.until_payout(payout["id"], "failed")
    # Then it has failed, says why, and nothing was paid
    assert failed["failure"]["code"] == "COMPLIANCE_HOLD"
    assert not failed.get("completedAt")
    assert paystream.payments_described(story) == []
    # and the money is back, to the cent
    assert fast_customer.balance() == before
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED, GIVEN_BACK]
    ledger.assert_ledger_consistent(books)


def test_payment_that_fails_later_fails_the_payout_and_gives_the_money_back(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a payment that Paystream accepts, and whose bank says no
    before = fast_customer.balance()
    with paystream.misbehaving("fail:BANK_REJECTED", "fails later"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="fails later")
        # When Paystream tells us
        failed = fast_customer.until_payout(payout["id"], "failed", POLLED_SECONDS)
    # Then the payout has failed with the bank's reason, and the money is back
    assert failed["failure"]["code"] == "BANK_REJECTED"
    assert fast_customer.balance() == before
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED, GIVEN_BACK]
    ledger.assert_ledger_consistent(books)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("timeout_after_accept", id="accepted, then no answer"),
        pytest.param("error_500_after_accept", id="accepted, then a 500"),
        pytest.param("timeout_before_accept", id="not accepted, no answer"),
        pytest.param("error_500", id="not accepted, a 500"),
        pytest.param("rate_limited", id="429"),
    ],
)
def test_unknown_outcome_ends_in_one_payment(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, fault: str
) -> None:
    # Given a Paystream that leaves us in the dark at the first call for each payment
    before_cents = fast_customer.available_cents()
    with paystream.misbehaving(fault, fault):
        # When payouts are submitted, one on each way
        payouts = [
            fast_customer.pay(fast_driver_id, AMOUNT_CENTS, urgency=urgency, description=f"{fault} {urgency}")
            for urgency in ("standard", "instant")
        ]
        # Then they are never called failed, and complete
        completed = [fast_customer.until_payout(each["id"], "completed", POLLED_SECONDS) for each in payouts]
    # and each was paid once, from the wallet and by Paystream
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
        pytest.param("lost_webhook", id="lost: the poll finds it"),
        pytest.param("reorder_webhooks", id="reordered"),
        pytest.param("forged_webhook", id="forged"),
    ],
)
def test_webhooks_come_as_they_like(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str, fault: str
) -> None:
    # Given a Paystream whose webhooks about a payment misbehave
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
    # and nothing with a wrong signature was taken
    assert paystream.stats()["webhooks"]["forgedAccepted"] == 0
    ledger.assert_ledger_consistent(books)


def test_notice_of_a_stranger_completes_nothing(
    fast_stack: Stack, fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a payment that Paystream has not finished
    with paystream.misbehaving("stuck", "forged end"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="forged end")
        (payment,) = until(lambda: paystream.payments_described("forged end"), "it is at Paystream")
    # When somebody who guesses at the secret says that it is completed
    data = {"paymentId": payment["id"], "amount": NET_CENTS, "status": "completed"}
    forged = {"id": "evt_forged", "type": "payment.completed", "data": data, "timestamp": "2026-02-08T10:00:00Z"}
    answer = provider_webhooks.send_signed(fast_stack["gateway"], forged, secret="whsec_guessed")
    # Then we don't listen
    assert answer.status == 401
    assert fast_customer.payout(payout["id"])["status"] in ("queued", "processing")
    assert ledger.transfers_of(books, payout["id"]) == [RESERVED]
    # and when Paystream says so itself, we do
    paystream.complete(payment["id"])
    fast_customer.until_payout(payout["id"], "completed", POLLED_SECONDS)
    assert sorted(ledger.transfers_of(books, payout["id"])) == COMPLETED


def test_return_after_completion_brings_the_net_amount_back(
    fast_customer: Customer, fast_driver_id: str, paystream: Simulator, books: str
) -> None:
    # Given a payout that was completed
    before_cents = fast_customer.available_cents()
    with paystream.misbehaving("return:R03", "returned"):
        payout = fast_customer.pay(fast_driver_id, AMOUNT_CENTS, description="returned")
        # When the bank sends it back
        fast_customer.until_payout(payout["id"], "returned", POLLED_SECONDS)
    # Then the wallet has the net amount again; the fee was earned
    assert fast_customer.available_cents() == before_cents - AMOUNT_CENTS + NET_CENTS
    assert sorted(ledger.transfers_of(books, payout["id"])) == sorted([*COMPLETED, RETURNED])
    ledger.assert_ledger_consistent(books)
