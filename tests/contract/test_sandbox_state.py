"""Sandbox reset, seed and state, with open payouts too; other wallets are unaffected."""

from typing import Any

import pytest

from tests.contract.customers import fund_and_register, run_concurrently
from tests.support import ledger
from tests.support.batches import create_batch
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

RESET, STATE, SEED = "/api/v1/sandbox/reset", "/api/v1/sandbox/state", "/api/v1/sandbox/seed"
OPENING_CENTS = 10_000_000
FRESH = {"available": OPENING_CENTS, "pending": 0, "inTransit": 0, "currency": "USD"}


def _reset(sandbox: Customer) -> None:
    answer = sandbox.post(RESET, {})
    assert (answer.status, answer.body["message"]) == (200, "Sandbox state reset successfully"), answer


def _seed(sandbox: Customer) -> Any:
    answer = sandbox.post(SEED, {})
    assert (answer.status, answer.body["message"]) == (200, "Sandbox seeded with test data"), answer
    return answer.data


def _assert_fresh(sandbox: Customer) -> None:
    assert sandbox.balance() == FRESH
    state = sandbox.get(STATE).data
    assert (state["drivers"], state["payouts"], state["balance"]) == ([], [], OPENING_CENTS)
    assert (state["driverCount"], state["payoutCount"]) == (0, 0)
    for path in ("drivers", "payouts", "batches", "scheduled-payouts", "webhooks/logs"):
        data = sandbox.get(f"/api/v1/{path}").data
        assert (data["items"], data["total"]) == ([], 0), path


def test_reset_clears_only_the_callers_sandbox(
    fast_stack: Stack, organization: Organization, carrier: Customer, three_drivers: list[str]
) -> None:
    # Given a seeded sandbox with a payout and a queued batch, whose policy rejects duplicate loads
    organization.refuse_duplicate_loads()
    sandbox, colleague, production = organization.sandbox(), organization.sandbox(), organization.production()
    driver_id = fund_and_register(sandbox, 1_000_000)
    _seed(sandbox)
    payout_id = sandbox.pay(driver_id, 45_000)["id"]
    sandbox.until_payout(payout_id, "completed")
    batch_id = create_batch(sandbox, [driver_id] * 3)["id"]
    # and the same carrier's production, and another carrier's sandbox
    live_driver_id = production.register("Lena Live")["id"]
    until(
        lambda: carrier.balance()["pending"] == carrier.balance()["inTransit"] == 0,
        "the other wallet has no open payouts",
    )
    others_balance, others_payouts = carrier.balance(), carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    # When it is reset
    _reset(sandbox)
    # Then it is empty, with its opening balance, for each of its keys
    _assert_fresh(sandbox)
    _assert_fresh(colleague)
    for path in (f"drivers/{driver_id}", f"payouts/{payout_id}", f"batches/{batch_id}"):
        assert sandbox.get(f"/api/v1/{path}").status == 404
    # and it works, with the same policy
    payout = {"driverId": sandbox.verified_driver()["id"], "amount": 45_000, "loadId": "L-12345"}
    assert sandbox.post("/api/v1/payouts", payout).status == 200
    assert sandbox.post("/api/v1/payouts", payout).error["code"] == "DUPLICATE_PAYOUT"
    assert colleague.available_cents() == OPENING_CENTS - 45_000
    assert _seed(sandbox) == {"drivers": 5, "payouts": 10}
    assert sandbox.get(STATE).data["payoutCount"] == 1 + 10
    # and other wallets are unchanged
    assert production.get(f"/api/v1/drivers/{live_driver_id}").status == 200
    assert carrier.get(f"/api/v1/drivers/{three_drivers[0]}").status == 200
    assert carrier.balance() == others_balance
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == others_payouts
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def test_reset_with_open_payouts(fast_stack: Stack, organization: Organization) -> None:
    # Given a sandbox with a pending top-up, an instant payout, a batch and many open payouts
    sandbox, paystream = organization.sandbox(), Simulator(fast_stack["paystream"])
    driver_id = fund_and_register(sandbox, 10_000_000)
    payout = {"driverId": driver_id, "amount": 45_000}
    sandbox.post("/api/v1/funding/topup", {"amount": 500_000, "method": "bank_transfer"}).data  # noqa: B018
    batch_id = create_batch(sandbox, [driver_id] * 3)["id"]
    sandbox.post(f"/api/v1/batches/{batch_id}/release", {}).data  # noqa: B018
    sandbox.post("/api/v1/payouts/bulk", {"payouts": [payout] * 50}).data  # noqa: B018
    late = sandbox.pay(driver_id, 45_000, description="[simulate:late_webhook:3]")
    # When it is reset while ten clients create payouts
    answers = run_concurrently(
        lambda: sandbox.post(RESET, {}),
        *[lambda: sandbox.post("/api/v1/payouts", payout)] * 5,
        *[lambda: sandbox.post("/api/v1/payouts/instant", payout)] * 5,
    )
    # Then each request succeeds before the reset or gets "driver not found"
    assert answers[0].status == 200, answers[0]
    errors = {(answer.status, answer.error["code"]) for answer in answers[1:] if answer.status != 200}
    assert errors <= {(404, "DRIVER_NOT_FOUND")}
    # and the sandbox is empty
    _assert_fresh(sandbox)
    # and stays empty after all webhooks of the open payouts
    until(paystream.webhooks_settled, "every webhook is delivered")
    until(
        lambda: paystream.payments_described(late["description"])[-1]["status"] == "completed", "the last one is paid"
    )
    _assert_fresh(sandbox)
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def test_concurrent_resets_act_as_one(fast_stack: Stack, organization: Organization) -> None:
    sandbox = organization.sandbox()
    sandbox.register()
    answers = run_concurrently(*[lambda: sandbox.post(RESET, {})] * 6)
    assert [answer.status for answer in answers] == [200] * 6
    _assert_fresh(sandbox)
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def test_seed_can_be_repeated(organization: Organization) -> None:
    # Given a sandbox with money and a driver
    sandbox = organization.sandbox()
    sandbox.fund(1_000_000)
    sandbox.register()
    # When it is seeded concurrently and once more
    seeded = [*run_concurrently(*[lambda: _seed(sandbox)] * 4), _seed(sandbox)]
    # Then the responses are the same, and the test data exists once
    assert seeded == [{"drivers": 5, "payouts": 10}] * 5
    state = sandbox.get(STATE).data
    assert (state["driverCount"], state["payoutCount"]) == (len(state["drivers"]), len(state["payouts"])) == (6, 10)
    assert sandbox.get("/api/v1/drivers").data["total"] == 6
    assert sandbox.get("/api/v1/payouts").data["total"] == 10


def test_state_shows_drivers_payouts_and_balance(organization: Organization) -> None:
    # Given a sandbox with drivers and payouts
    sandbox = organization.sandbox()
    driver_ids = [sandbox.verified_driver()["id"], *[sandbox.register()["id"] for _ in range(2)]]
    create_batch(sandbox, [driver_ids[0]] * 3)
    for driver_id in driver_ids:
        sandbox.until_verified(driver_id)
    # When its state is read
    state = sandbox.get(STATE).data
    # Then they match the lists, and the balance is the available one
    assert state["drivers"] == sandbox.get("/api/v1/drivers").data["items"]
    assert state["payouts"] == sandbox.get("/api/v1/payouts").data["items"]
    assert (state["driverCount"], state["payoutCount"], state["balance"]) == (3, 3, sandbox.available_cents())


@pytest.mark.parametrize(("method", "path"), [("POST", RESET), ("GET", STATE), ("POST", SEED)])
def test_sandbox_utilities_are_rejected_in_production(production_carrier: Customer, method: str, path: str) -> None:
    driver_id = production_carrier.register("Lena Live")["id"]
    answer = production_carrier.get(path) if method == "GET" else production_carrier.post(path, {})
    assert answer.status == 403
    assert answer.error["code"]
    assert production_carrier.get(f"/api/v1/drivers/{driver_id}").status == 200


def test_sandbox_utilities_require_their_scopes(carrier_organization: Organization) -> None:
    reader = carrier_organization.sandbox(("payouts:read",))
    assert reader.get(STATE).status == 200
    assert (reader.post(RESET, {}).status, reader.post(SEED, {}).status) == (403, 403)
    writer = carrier_organization.sandbox(("payouts:write",))
    assert writer.get(STATE).status == 403
