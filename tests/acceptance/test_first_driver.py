"""The first driver is paid: funded, registered, verified, paid, completed, and each cent is where it belongs."""

from datetime import datetime

from tests.support import ledger
from tests.support.customer import Customer
from tests.support.simulator import Simulator
from tests.support.stack import Stack


def test_driver_is_registered_verified_and_paid_to_the_cent(stack: Stack, customer: Customer) -> None:
    # Given a wallet that was funded with $5,000
    before = customer.balance()
    customer.fund(500_000)
    funded = customer.balance()
    assert funded == before | {"available": before["available"] + 500_000, "pending": 0}
    # and a driver, invited, whom Paystream then verifies
    invited = customer.register("John Smith")
    assert (invited["status"], invited["kycStatus"]) == ("invited", "pending")
    driver = customer.until_verified(invited["id"])

    # When $450 are paid for a load
    payout = customer.pay(driver["id"], 45_000, description="Payment for load #L-12345", loadId="L-12345")

    # Then the answer says at once what it costs and what the driver gets
    said = {"amount": 45_000, "fee": 250, "netAmount": 44_750, "rail": "standard", "loadId": "L-12345"}
    said |= {"driverId": driver["id"], "driverName": "John Smith"}
    assert payout.items() >= (said | {"status": "validated"}).items()
    # and some moments later that it is done, and when
    paid = customer.until_payout(payout["id"], "completed")
    assert paid.items() >= said.items()
    assert paid["requestedAt"] == payout["requestedAt"]
    assert datetime.fromisoformat(paid["completedAt"]) >= datetime.fromisoformat(paid["requestedAt"])
    assert paid["completedAt"].endswith("Z")
    # and the wallet paid the amount, nothing is left on the way
    assert customer.balance() == funded | {"available": funded["available"] - 45_000, "inTransit": 0}
    # and the driver's own line says so too
    line = customer.get(f"/api/v1/drivers/{driver['id']}").data
    listed = next(item for item in customer.items("/api/v1/drivers") if item["id"] == driver["id"])
    assert listed["pendingPayouts"] == 0
    assert listed["totalPaid"] in (45_000, 44_750), "the reference doesn't say whether with or without the fee"
    assert line["status"] == "active"
    # and Paystream paid the net amount once, to the right person
    (payment,) = [p for p in Simulator(stack["paystream"]).payments() if p["email"] == invited["email"]]
    assert (payment["amount"], payment["rail"], payment["status"]) == (44_750, "standard", "completed")


def test_ledger_of_a_payout_is_right_to_the_cent(stack: Stack, customer: Customer) -> None:
    # Given what the accounts hold before
    driver = customer.verified_driver()
    before = ledger.balances_of(stack["database_url"], "sandbox")
    # When a payout is completed
    payout = customer.pay(driver["id"], 45_000)
    customer.until_payout(payout["id"], "completed")
    # Then it made exactly three transfers: reserved; the net amount gone, the fee kept
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=250))
    assert moved[0] == ("available", "in_transit", 45_000)
    # and the accounts changed by them
    after = ledger.balances_of(stack["database_url"], "sandbox")
    assert {kind: after[kind] - before[kind] for kind in after} == {
        "available": -45_000,
        "in_transit": 0,
        "pending_funding": 0,
        "fees": 250,
        "external": 44_750,
    }
    # and the API shows the same balance as the accounts
    assert customer.balance() == {
        "available": after["available"],
        "pending": after["pending_funding"],
        "inTransit": after["in_transit"],
        "currency": "USD",
    }
    # and everything sums to zero, and each balance equals its transfers
    ledger.assert_ledger_consistent(stack["database_url"])


def test_instant_pay_is_processing_at_once_and_costs_what_was_quoted(stack: Stack, customer: Customer) -> None:
    # Given a driver who asks what $450 at once would cost
    driver = customer.verified_driver()
    before_cents = customer.available_cents()
    quote = customer.get("/api/v1/payouts/instant/fee", amount=45_000).data
    assert quote == {"amount": 45_000, "fee": 450, "feePercent": 1, "total": 45_450, "estimatedDeposit": 44_550}
    # When they are paid at once
    body = {"driverId": driver["id"], "amount": 45_000, "requestedBy": "driver-789"}
    payout = customer.post("/api/v1/payouts/instant", body).data
    # Then the answer truthfully says `processing`, at the quoted price
    assert (payout["status"], payout["rail"], payout["estimatedSettlement"]) == ("processing", "instant", "~30 seconds")
    assert (payout["fee"], payout["netAmount"]) == (quote["fee"], quote["estimatedDeposit"])
    # and it completes, over the instant rail, for the quoted fee
    customer.until_payout(payout["id"], "completed")
    (payment,) = [p for p in Simulator(stack["paystream"]).payments() if p["email"] == driver["email"]]
    assert (payment["amount"], payment["rail"]) == (44_550, "rtp")
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=450))
    assert customer.available_cents() == before_cents - 45_000
    ledger.assert_ledger_consistent(stack["database_url"])


def test_production_wallet_sees_nothing_of_the_sandbox(stack: Stack, customer: Customer, production: Customer) -> None:
    # Given both wallets' books
    balance, accounts = production.balance(), ledger.balances_of(stack["database_url"], "production")
    provider = Simulator(stack["paystream"])
    live_payments = provider.payments("live")
    # When a driver is paid in the sandbox
    driver = customer.verified_driver()
    payout = customer.pay(driver["id"], 45_000)
    customer.until_payout(payout["id"], "completed")
    # Then production knows neither driver nor payout
    for path in (f"/api/v1/drivers/{driver['id']}", f"/api/v1/payouts/{payout['id']}"):
        assert production.get(path).status == 404
    assert driver["id"] not in [item["id"] for item in production.items("/api/v1/drivers")]
    assert payout["id"] not in [item["id"] for item in production.items("/api/v1/payouts")]
    # and none of its money moved, here or at Paystream
    assert production.balance() == balance
    assert ledger.balances_of(stack["database_url"], "production") == accounts
    assert provider.payments("live") == live_payments
