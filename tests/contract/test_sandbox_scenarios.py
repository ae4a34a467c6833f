"""`X-Sandbox-Scenario`: simulates outcomes on demand, in the sandbox only."""

import json
import uuid
from time import monotonic
from typing import Any

import pytest

from tests.contract.customers import failed_payout, run_concurrently, with_scenario
from tests.contract.payout_channels import CHANNELS, Outcome, post_payout
from tests.support import ledger
from tests.support.batches import PATH as BATCHES
from tests.support.batches import create_batch
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

# Scenario of an accepted payout to its final status and the fault sent to the provider.
OUTCOMES = {
    "success": ("completed", ""),
    "payout_failed": ("failed", "fail:"),
    "returned": ("returned", "return:"),
    "provider_timeout": ("completed", "timeout_"),
    "duplicate_webhook": ("completed", "duplicate_webhook"),
    "late_webhook": ("completed", "late_webhook"),
}
SCENARIOS = [*OUTCOMES, "insufficient_funds", "kyc_pending", "rate_limited", "slow_response"]
PAID_CENTS = 45_000
ENDED_SECONDS = 45


@pytest.fixture(scope="module")
def john_id(three_drivers: list[str]) -> str:
    return three_drivers[0]


@pytest.fixture(scope="module")
def started(carrier: Customer, john_id: str) -> dict[tuple[str, str], tuple[str, Outcome]]:
    """Create a payout for each scenario and channel; return the mark in its description and the outcome."""
    created = {}
    for scenario in OUTCOMES:
        simulating = with_scenario(carrier, scenario)
        for way in CHANNELS:
            mark = uuid.uuid4().hex
            outcome = post_payout(
                way, simulating, {"driverId": john_id, "amount": PAID_CENTS, "description": f"Load {mark}"}
            )
            if outcome.batch_id:
                simulating.post(f"{BATCHES}/{outcome.batch_id}/release", {}).data  # noqa: B018
            created[scenario, way] = (mark, outcome)
    return created


@pytest.mark.parametrize("way", CHANNELS)
@pytest.mark.parametrize("scenario", OUTCOMES)
def test_accepted_payout_ends_as_its_scenario_says(
    fast_stack: Stack,
    carrier: Customer,
    started: dict[tuple[str, str], tuple[str, Outcome]],
    scenario: str,
    way: str,
) -> None:
    # Given a payout that was accepted in the scenario
    mark, outcome = started[scenario, way]
    assert outcome.payout_id, outcome
    end, fault = OUTCOMES[scenario]
    # When it has ended
    payout = carrier.until_payout(outcome.payout_id, end, ENDED_SECONDS)
    # Then it has the expected status and failure, and the customer's description
    assert payout["description"] == f"Load {mark}"
    assert bool(payout.get("failure")) is (end != "completed")
    # and Paystream got one payment, with the fault
    (payment,) = Simulator(fast_stack["paystream"]).payments_described(mark)
    assert payment["amount"] == payout["netAmount"]
    assert fault in json.dumps([payment["description"], payment["metadata"], payment["faults"]])
    # and its transfers are complete
    moved = ledger.transfers_of(fast_stack["database_url"], payout["id"])
    completed = ledger.transfers_of_completed(PAID_CENTS, payout["fee"])
    expected = {
        "completed": completed,
        "failed": [("available", "in_transit", PAID_CENTS), ("in_transit", "available", PAID_CENTS)],
        "returned": [*completed, ("external", "available", payout["netAmount"])],
    }[end]
    assert sorted(moved) == sorted(expected)


def test_scenarios_keep_the_ledger_consistent(
    fast_stack: Stack, carrier: Customer, started: dict[tuple[str, str], tuple[str, Outcome]]
) -> None:
    for (scenario, _), (_, outcome) in started.items():
        carrier.until_payout(str(outcome.payout_id), OUTCOMES[scenario][0], ENDED_SECONDS)
    until(Simulator(fast_stack["paystream"]).webhooks_settled, "every webhook is delivered", ENDED_SECONDS)
    ledger.assert_ledger_consistent(fast_stack["database_url"])


@pytest.mark.parametrize("way", ["single", "instant", "bulk"])
def test_insufficient_funds(carrier: Customer, john_id: str, way: str) -> None:
    # Given a wallet with enough money
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    # When a payout is asked for in the scenario
    outcome = post_payout(
        way, with_scenario(carrier, "insufficient_funds"), {"driverId": john_id, "amount": PAID_CENTS}
    )
    # Then it is rejected as if it had not, and nothing is created
    assert (outcome.status, outcome.code) == (200 if way == "bulk" else 400, "INSUFFICIENT_FUNDS")
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


@pytest.mark.parametrize("action", ["release", "run"])
def test_insufficient_funds_for_a_batch(
    fast_stack: Stack, carrier: Customer, three_drivers: list[str], action: str
) -> None:
    # Given a queued batch
    batch_id = create_batch(carrier, three_drivers)["id"]
    # When it is released in the scenario
    answer = with_scenario(carrier, "insufficient_funds").post(f"{BATCHES}/{batch_id}/{action}", {})
    # Then it is rejected, and no money has moved
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    for payout in carrier.get(f"{BATCHES}/{batch_id}").data["payouts"]:
        assert ledger.transfers_of(fast_stack["database_url"], payout["id"]) == []


def test_insufficient_funds_for_a_retry(carrier: Customer, john_id: str) -> None:
    payout_id = failed_payout(carrier, john_id)
    simulating = with_scenario(carrier, "insufficient_funds")
    answer = simulating.post(f"/api/v1/payouts/{payout_id}/retry", {})
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    (result,) = simulating.post("/api/v1/payouts/bulk/retry", {"payoutIds": [payout_id]}).data["results"]
    assert (result["status"], result["code"]) == ("error", "INSUFFICIENT_FUNDS")
    assert carrier.payout(payout_id)["status"] == "failed"


@pytest.mark.parametrize("way", CHANNELS)
def test_kyc_pending_when_paying(carrier: Customer, john_id: str, way: str) -> None:
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    outcome = post_payout(way, with_scenario(carrier, "kyc_pending"), {"driverId": john_id, "amount": PAID_CENTS})
    assert (outcome.status, outcome.code) == (200 if way == "bulk" else 422, "KYC_PENDING")
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


def test_kyc_pending_when_reading_drivers(carrier: Customer, john_id: str) -> None:
    simulating = with_scenario(carrier, "kyc_pending")
    driver = simulating.get(f"/api/v1/drivers/{john_id}").data
    assert (driver["status"], driver["kycStatus"]) == ("pending", "pending")
    listed = simulating.get("/api/v1/drivers").data["items"]
    assert {(item["status"], item["kycStatus"]) for item in listed} == {("pending", "pending")}
    # Only the response changes
    driver = carrier.get(f"/api/v1/drivers/{john_id}").data
    assert (driver["status"], driver["kycStatus"]) == ("active", "verified")


def test_rate_limited_applies_to_every_endpoint(carrier: Customer, john_id: str) -> None:
    simulating = with_scenario(carrier, "rate_limited")
    payout = {"driverId": john_id, "amount": PAID_CENTS}
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    for answer in (
        simulating.get("/api/v1/drivers"),
        simulating.get(f"/api/v1/drivers/{john_id}"),
        simulating.get("/api/v1/balance"),
        simulating.get("/api/v1/batches"),
        simulating.get("/api/v1/sandbox/state"),
        simulating.post("/api/v1/payouts", payout),
        simulating.post("/api/v1/payouts/instant", payout),
        simulating.post("/api/v1/payouts/bulk", {"payouts": [payout]}),
        simulating.post(BATCHES, {"name": "Weekly", "payouts": [payout]}),
    ):
        assert (answer.status, answer.error["code"]) == (429, "RATE_LIMITED")
        assert int(answer.headers["Retry-After"]) > 0
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


def test_slow_response_takes_two_seconds_longer(carrier: Customer, john_id: str) -> None:
    simulating = with_scenario(carrier, "slow_response")

    def seconds(who: Customer, path: str, body: object = None) -> float:
        started = monotonic()
        (who.get(path) if body is None else who.post(path, body)).data  # noqa: B018
        return monotonic() - started

    # When slow and normal requests run at once
    payout = {"driverId": john_id, "amount": PAID_CENTS}
    *slow, other = run_concurrently(
        lambda: seconds(simulating, "/api/v1/drivers"),
        lambda: seconds(simulating, "/api/v1/balance"),
        lambda: seconds(simulating, "/api/v1/payouts", payout),
        lambda: seconds(simulating, "/api/v1/payouts/bulk", {"payouts": [payout]}),
        lambda: seconds(carrier, "/api/v1/balance"),
    )
    # Then the slow ones take two seconds longer, and no other request waits
    assert all(2 <= each < 4 for each in slow), slow
    assert other < 1.5


@pytest.mark.parametrize("scenario", ["Success", "payout-failed", "all", ""])
def test_unknown_scenario_is_rejected(carrier: Customer, john_id: str, scenario: str) -> None:
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    simulating = with_scenario(carrier, scenario)
    for answer in (
        simulating.post("/api/v1/payouts", {"driverId": john_id, "amount": PAID_CENTS}),
        simulating.get("/api/v1/balance"),
    ):
        assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR"), answer
        assert answer.error["details"]["field"] == "X-Sandbox-Scenario"
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_is_rejected_in_production(production_carrier: Customer, scenario: str) -> None:
    # Given a production key
    simulating = with_scenario(production_carrier, scenario)
    drivers = production_carrier.get("/api/v1/drivers", pageSize=1).data["total"]
    # When it sends a scenario
    answers: list[Any] = [
        simulating.get("/api/v1/balance"),
        simulating.post("/api/v1/payouts", {"driverId": "drv_test", "amount": 50_000}),
        simulating.post(
            "/api/v1/drivers", {"ovnDriverId": uuid.uuid4().hex, "name": "Pia Play", "email": "pia@drivers.example"}
        ),
    ]
    # Then it is rejected, and nothing is created
    assert [answer.status for answer in answers] == [400] * 3
    assert all("X-Sandbox-Scenario" in json.dumps(answer.error) for answer in answers)
    assert production_carrier.get("/api/v1/drivers", pageSize=1).data["total"] == drivers


def test_scenario_that_does_not_apply_changes_nothing(carrier: Customer) -> None:
    for scenario in ("payout_failed", "returned", "insufficient_funds", "duplicate_webhook"):
        assert with_scenario(carrier, scenario).balance().keys() == carrier.balance().keys()
