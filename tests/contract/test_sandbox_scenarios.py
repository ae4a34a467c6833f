"""`X-Sandbox-Scenario`: what can happen to an integrator, on demand, wherever it can, and never in production."""

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

# What happens later to a payout that is accepted, how it ends, and what the provider was told to do for it.
LATER = {
    "success": ("completed", ""),
    "payout_failed": ("failed", "fail:"),
    "returned": ("returned", "return:"),
    "provider_timeout": ("completed", "timeout_"),
    "duplicate_webhook": ("completed", "duplicate_webhook"),
    "late_webhook": ("completed", "late_webhook"),
}
SCENARIOS = [*LATER, "insufficient_funds", "kyc_pending", "rate_limited", "slow_response"]
PAID_CENTS = 45_000
ENDED_SECONDS = 45


@pytest.fixture(scope="module")
def john_id(three_drivers: list[str]) -> str:
    return three_drivers[0]


@pytest.fixture(scope="module")
def under_way(carrier: Customer, john_id: str) -> dict[tuple[str, str], tuple[str, Outcome]]:
    """A payout for each scenario and way in, all begun together, and the mark in its description."""
    begun = {}
    for scenario in LATER:
        playing = with_scenario(carrier, scenario)
        for way in CHANNELS:
            mark = uuid.uuid4().hex
            outcome = post_payout(
                way, playing, {"driverId": john_id, "amount": PAID_CENTS, "description": f"Load {mark}"}
            )
            if outcome.batch_id:
                playing.post(f"{BATCHES}/{outcome.batch_id}/release", {}).data  # noqa: B018
            begun[scenario, way] = (mark, outcome)
    return begun


@pytest.mark.parametrize("way", CHANNELS)
@pytest.mark.parametrize("scenario", LATER)
def test_scenario_befalls_a_payout_that_was_accepted(
    fast_stack: Stack,
    carrier: Customer,
    under_way: dict[tuple[str, str], tuple[str, Outcome]],
    scenario: str,
    way: str,
) -> None:
    # Given a payout that was accepted in the scenario, as any other
    mark, outcome = under_way[scenario, way]
    assert outcome.payout_id, outcome
    end, told_paystream = LATER[scenario]
    # When it has ended
    payout = carrier.until_payout(outcome.payout_id, end, ENDED_SECONDS)
    # Then it has ended as it should, and says why; its description is the customer's own
    assert payout["description"] == f"Load {mark}"
    assert bool(payout.get("failure")) is (end != "completed")
    # because that happened at Paystream, which was asked to pay it once
    (payment,) = Simulator(fast_stack["paystream"]).payments_described(mark)
    assert payment["amount"] == payout["netAmount"]
    assert told_paystream in json.dumps([payment["description"], payment["metadata"], payment["faults"]])
    # and every cent is where it belongs
    moved = ledger.transfers_of(fast_stack["database_url"], payout["id"])
    completed = ledger.transfers_of_completed(PAID_CENTS, payout["fee"])
    expected = {
        "completed": completed,
        "failed": [("available", "in_transit", PAID_CENTS), ("in_transit", "available", PAID_CENTS)],
        "returned": [*completed, ("external", "available", payout["netAmount"])],
    }[end]
    assert sorted(moved) == sorted(expected)


def test_scenarios_leave_the_books_in_order(
    fast_stack: Stack, carrier: Customer, under_way: dict[tuple[str, str], tuple[str, Outcome]]
) -> None:
    for (scenario, _), (_, outcome) in under_way.items():
        carrier.until_payout(str(outcome.payout_id), LATER[scenario][0], ENDED_SECONDS)
    until(Simulator(fast_stack["paystream"]).webhooks_settled, "every webhook is delivered", ENDED_SECONDS)
    ledger.assert_ledger_consistent(fast_stack["database_url"])


@pytest.mark.parametrize("way", ["single", "instant", "bulk"])
def test_insufficient_funds(carrier: Customer, john_id: str, way: str) -> None:
    # Given a wallet that has enough
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    # When a payout is asked for in the scenario
    outcome = post_payout(
        way, with_scenario(carrier, "insufficient_funds"), {"driverId": john_id, "amount": PAID_CENTS}
    )
    # Then it is refused as if the wallet had not, and nothing is made
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
    # Then it is refused, and nothing has moved
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    for payout in carrier.get(f"{BATCHES}/{batch_id}").data["payouts"]:
        assert ledger.transfers_of(fast_stack["database_url"], payout["id"]) == []


def test_insufficient_funds_for_a_retry(carrier: Customer, john_id: str) -> None:
    payout_id = failed_payout(carrier, john_id)
    playing = with_scenario(carrier, "insufficient_funds")
    answer = playing.post(f"/api/v1/payouts/{payout_id}/retry", {})
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    (result,) = playing.post("/api/v1/payouts/bulk/retry", {"payoutIds": [payout_id]}).data["results"]
    assert (result["status"], result["code"]) == ("error", "INSUFFICIENT_FUNDS")
    assert carrier.payout(payout_id)["status"] == "failed"


@pytest.mark.parametrize("way", CHANNELS)
def test_kyc_pending_when_paying(carrier: Customer, john_id: str, way: str) -> None:
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    outcome = post_payout(way, with_scenario(carrier, "kyc_pending"), {"driverId": john_id, "amount": PAID_CENTS})
    assert (outcome.status, outcome.code) == (200 if way == "bulk" else 422, "KYC_PENDING")
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


def test_kyc_pending_when_looking_at_drivers(carrier: Customer, john_id: str) -> None:
    playing = with_scenario(carrier, "kyc_pending")
    driver = playing.get(f"/api/v1/drivers/{john_id}").data
    assert (driver["status"], driver["kycStatus"]) == ("pending", "pending")
    listed = playing.get("/api/v1/drivers").data["items"]
    assert {(item["status"], item["kycStatus"]) for item in listed} == {("pending", "pending")}
    # It is shown, not done
    driver = carrier.get(f"/api/v1/drivers/{john_id}").data
    assert (driver["status"], driver["kycStatus"]) == ("active", "verified")


def test_rate_limited_wherever_one_asks(carrier: Customer, john_id: str) -> None:
    playing = with_scenario(carrier, "rate_limited")
    payout = {"driverId": john_id, "amount": PAID_CENTS}
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    for answer in (
        playing.get("/api/v1/drivers"),
        playing.get(f"/api/v1/drivers/{john_id}"),
        playing.get("/api/v1/balance"),
        playing.get("/api/v1/batches"),
        playing.get("/api/v1/sandbox/state"),
        playing.post("/api/v1/payouts", payout),
        playing.post("/api/v1/payouts/instant", payout),
        playing.post("/api/v1/payouts/bulk", {"payouts": [payout]}),
        playing.post(BATCHES, {"name": "Weekly", "payouts": [payout]}),
    ):
        assert (answer.status, answer.error["code"]) == (429, "RATE_LIMITED")
        assert int(answer.headers["Retry-After"]) > 0
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


def test_slow_response_answers_two_seconds_later(carrier: Customer, john_id: str) -> None:
    playing = with_scenario(carrier, "slow_response")

    def seconds(who: Customer, path: str, body: object = None) -> float:
        started = monotonic()
        (who.get(path) if body is None else who.post(path, body)).data  # noqa: B018
        return monotonic() - started

    # When different things are asked at once, slowly and not
    payout = {"driverId": john_id, "amount": PAID_CENTS}
    *slow, other = run_concurrently(
        lambda: seconds(playing, "/api/v1/drivers"),
        lambda: seconds(playing, "/api/v1/balance"),
        lambda: seconds(playing, "/api/v1/payouts", payout),
        lambda: seconds(playing, "/api/v1/payouts/bulk", {"payouts": [payout]}),
        lambda: seconds(carrier, "/api/v1/balance"),
    )
    # Then the slow ones take two seconds more, and nobody waits for them
    assert all(2 <= each < 4 for each in slow), slow
    assert other < 1.5


@pytest.mark.parametrize("scenario", ["Success", "payout-failed", "all", ""])
def test_unknown_scenario_is_a_mistake(carrier: Customer, john_id: str, scenario: str) -> None:
    before = carrier.get("/api/v1/payouts", pageSize=1).data["total"]
    playing = with_scenario(carrier, scenario)
    for answer in (
        playing.post("/api/v1/payouts", {"driverId": john_id, "amount": PAID_CENTS}),
        playing.get("/api/v1/balance"),
    ):
        assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR"), answer
        assert answer.error["details"]["field"] == "X-Sandbox-Scenario"
    assert carrier.get("/api/v1/payouts", pageSize=1).data["total"] == before


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_scenario_in_production(production_carrier: Customer, scenario: str) -> None:
    # Given a production key
    playing = with_scenario(production_carrier, scenario)
    drivers = production_carrier.get("/api/v1/drivers", pageSize=1).data["total"]
    # When it plays a scenario, wherever
    answers: list[Any] = [
        playing.get("/api/v1/balance"),
        playing.post("/api/v1/payouts", {"driverId": "drv_test", "amount": 50_000}),
        playing.post(
            "/api/v1/drivers", {"ovnDriverId": uuid.uuid4().hex, "name": "Pia Play", "email": "pia@drivers.example"}
        ),
    ]
    # Then it is told that it can't, and nothing is made
    assert [answer.status for answer in answers] == [400] * 3
    assert all("X-Sandbox-Scenario" in json.dumps(answer.error) for answer in answers)
    assert production_carrier.get("/api/v1/drivers", pageSize=1).data["total"] == drivers


def test_scenario_without_meaning_for_an_endpoint_changes_nothing(carrier: Customer) -> None:
    for scenario in ("payout_failed", "returned", "insufficient_funds", "duplicate_webhook"):
        assert with_scenario(carrier, scenario).balance().keys() == carrier.balance().keys()
