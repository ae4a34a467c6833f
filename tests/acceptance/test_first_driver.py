"""The first payout: fund, create a driver, pay, complete; every cent is accounted for."""

from datetime import datetime

from tests.support import ledger
from tests.support.customer import Customer
from tests.support.simulator import Simulator
from tests.support.stack import Stack


def test_payout_to_a_new_driver_completes(stack: Stack, customer: Customer) -> None:
    # Given a wallet funded with $5,000
    before = customer.balance()
    customer.fund(500_000)
    funded = customer.balance()
    assert funded == before | {"available": before["available"] + 500_000, "pending": 0}
    # and a driver, first invited, then verified by Paystream
    invited = customer.register("John Smith")
    assert (invited["status"], invited["kycStatus"]) == ("invited", "pending")
    driver = customer.until_verified(invited["id"])

    # When $450 is paid for a load
    payout = customer.pay(driver["id"], 45_000, description="Payment for load #L-12345", loadId="L-12345")

    # Then the response has the fee and the net amount
    expected = {"amount": 45_000, "fee": 250, "netAmount": 44_750, "rail": "standard", "loadId": "L-12345"}
    expected |= {"driverId": driver["id"], "driverName": "John Smith"}
    assert payout.items() >= (expected | {"status": "validated"}).items()
    # and the payout completes
    paid = customer.until_payout(payout["id"], "completed")
    assert paid.items() >= expected.items()
    assert paid["requestedAt"] == payout["requestedAt"]
    assert datetime.fromisoformat(paid["completedAt"]) >= datetime.fromisoformat(paid["requestedAt"])
    assert paid["completedAt"].endswith("Z")
    # and the wallet has paid the amount, with nothing in transit
    assert customer.balance() == funded | {"available": funded["available"] - 45_000, "inTransit": 0}
    # and the driver shows it too
    line = customer.get(f"/api/v1/drivers/{driver['id']}").data
    listed = next(item for item in customer.items("/api/v1/drivers") if item["id"] == driver["id"])
    assert listed["pendingPayouts"] == 0
    assert listed["totalPaid"] in (45_000, 44_750), "the API reference leaves open whether the fee is included"
    assert line["status"] == "active"
    # and Paystream paid the net amount once, to that driver
    (payment,) = [p for p in Simulator(stack["paystream"]).payments() if p["email"] == invited["email"]]
    assert (payment["amount"], payment["rail"], payment["status"]) == (44_750, "standard", "completed")


def test_completed_payout_makes_three_transfers(stack: Stack, customer: Customer) -> None:
    # Given the account balances
    driver = customer.verified_driver()
    before = ledger.balances_of(stack["database_url"], "sandbox")
    # When a payout is completed
    payout = customer.pay(driver["id"], 45_000)
    customer.until_payout(payout["id"], "completed")
    # Then it has made three transfers: the reservation, the net amount, the fee
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=250))
    assert moved[0] == ("available", "in_transit", 45_000)
    # and the balances changed by these
    after = ledger.balances_of(stack["database_url"], "sandbox")
    assert {kind: after[kind] - before[kind] for kind in after} == {
        "available": -45_000,
        "in_transit": 0,
        "pending_funding": 0,
        "fees": 250,
        "external": 44_750,
    }
    # and the API shows the balances of the accounts
    assert customer.balance() == {
        "available": after["available"],
        "pending": after["pending_funding"],
        "inTransit": after["in_transit"],
        "currency": "USD",
    }
    # and the ledger is consistent
    ledger.assert_ledger_consistent(stack["database_url"])


def test_instant_payout_is_processing_at_once_and_costs_the_quoted_fee(stack: Stack, customer: Customer) -> None:
    # Given the quote for an instant payout of $450
    driver = customer.verified_driver()
    before_cents = customer.available_cents()
    quote = customer.get("/api/v1/payouts/instant/fee", amount=45_000).data
    assert quote == {"amount": 45_000, "fee": 450, "feePercent": 1, "total": 45_450, "estimatedDeposit": 44_550}
    # When it is paid
    body = {"driverId": driver["id"], "amount": 45_000, "requestedBy": "driver-789"}
    payout = customer.post("/api/v1/payouts/instant", body).data
    # Then the response says `processing`, at the quoted fee
    assert (payout["status"], payout["rail"], payout["estimatedSettlement"]) == ("processing", "instant", "~30 seconds")
    assert (payout["fee"], payout["netAmount"]) == (quote["fee"], quote["estimatedDeposit"])
    # and it completes over the instant rail for that fee
    customer.until_payout(payout["id"], "completed")
    (payment,) = [p for p in Simulator(stack["paystream"]).payments() if p["email"] == driver["email"]]
    assert (payment["amount"], payment["rail"]) == (44_550, "rtp")
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=450))
    assert customer.available_cents() == before_cents - 45_000
    ledger.assert_ledger_consistent(stack["database_url"])


def test_production_wallet_is_unaffected_by_the_sandbox(stack: Stack, customer: Customer, production: Customer) -> None:
    # Given the state of the production wallet
    balance, accounts = production.balance(), ledger.balances_of(stack["database_url"], "production")
    provider = Simulator(stack["paystream"])
    live_payments = provider.payments("live")
    # When a driver is paid in the sandbox
    driver = customer.verified_driver()
    payout = customer.pay(driver["id"], 45_000)
    customer.until_payout(payout["id"], "completed")
    # Then production knows neither the driver nor the payout
    for path in (f"/api/v1/drivers/{driver['id']}", f"/api/v1/payouts/{payout['id']}"):
        assert production.get(path).status == 404
    assert driver["id"] not in [item["id"] for item in production.items("/api/v1/drivers")]
    assert payout["id"] not in [item["id"] for item in production.items("/api/v1/payouts")]
    # and none of its money moved, here or at Paystream
    assert production.balance() == balance
    assert ledger.balances_of(stack["database_url"], "production") == accounts
    assert provider.payments("live") == live_payments
