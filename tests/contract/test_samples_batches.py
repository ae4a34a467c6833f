"""The samples of batches and scheduled payouts. The reference has this chapter twice; both copies are compared."""

import json
from typing import Any

import pytest

from tests.contract.conformance import ADDED_TO_BATCHES, ADDED_TO_PAYOUTS, SAMPLES, conforms, with_only
from tests.support.batches import AMOUNTS_CENTS, FEES_CENTS, PATH, is_same_time, time_from_now, until_batch
from tests.support.customer import Customer
from tests.support.http_client import Answer, call

WEEKLY = "Weekly Payouts - 2026-01-31"
ADDED_TO_DETAILS = ADDED_TO_BATCHES | ADDED_TO_PAYOUTS | {"fee", "rail", "requestedAt"}


@pytest.fixture(scope="module")
def body(three_drivers: list[str]) -> dict[str, Any]:
    """The complete body of the second copy, with our drivers, and scheduled for tomorrow: the sample's time is past."""
    sample = SAMPLES["create batch"]["body"]
    payouts = [
        payout | {"driverId": driver_id} for payout, driver_id in zip(sample["payouts"], three_drivers, strict=True)
    ]
    return {**sample, "payouts": payouts, "scheduledFor": time_from_now(days=1)}


@pytest.fixture(scope="module")
def unscheduled(body: dict[str, Any]) -> dict[str, Any]:
    """The body of the first copy: it is cut off, and has no `scheduledFor` before `payouts`."""
    return {name: value for name, value in body.items() if name != "scheduledFor"}


@pytest.fixture(scope="module")
def released(carrier: Customer, unscheduled: dict[str, Any]) -> Answer:
    """The response to the release of the first copy's batch."""
    return carrier.post(f"{PATH}/{carrier.post(PATH, unscheduled).data['id']}/release", {})


def test_create_batch(carrier: Customer, body: dict[str, Any]) -> None:
    data = conforms("create batch", carrier.post(PATH, body), ADDED_TO_BATCHES)
    assert is_same_time(data["scheduledFor"], body["scheduledFor"])


def test_create_batch_of_the_first_copy(carrier: Customer, body: dict[str, Any], unscheduled: dict[str, Any]) -> None:
    # Given a body that is cut off after its first payout, while its response counts three
    cut_off = "".join(SAMPLES["create batch (first)"]["cut_off_body"])
    shown = json.loads(cut_off + "]}")
    # When it is sent unchanged
    answer = call(carrier.url, "POST", PATH, cut_off.encode(), carrier.headers)
    # Then it is invalid JSON
    assert (answer.status, answer.error["code"]) == (400, "INVALID_JSON")
    # The response follows from the body of the second copy, of which the first is a beginning
    complete = SAMPLES["create batch"]["body"]
    assert shown == {name: complete[name] for name in ("name", "urgency")} | {"payouts": complete["payouts"][:1]}
    data = conforms("create batch (first)", carrier.post(PATH, unscheduled), ADDED_TO_BATCHES)
    assert data["scheduledFor"] is None


def test_release_batch(released: Answer) -> None:
    conforms("release batch (first)", released, ADDED_TO_BATCHES)
    conforms("release batch", released, ADDED_TO_BATCHES)


def test_run_batch_regardless_of_its_scheduled_time(carrier: Customer, body: dict[str, Any]) -> None:
    # Release and run do the same. One sample has releasedAt, the other processedAt: the response has both.
    batch_id = carrier.post(PATH, body).data["id"]
    answer = carrier.post(f"{PATH}/{batch_id}/run", {})
    data = conforms("run batch (first)", answer, ADDED_TO_BATCHES)
    assert conforms("run batch", answer, ADDED_TO_BATCHES)["id"] == batch_id
    assert data["releasedAt"] == data["processedAt"]
    until_batch(carrier, batch_id, "completed")


def test_get_batch(carrier: Customer, released: Answer, three_drivers: list[str]) -> None:
    batch_id = released.data["id"]
    until_batch(carrier, batch_id, "completed")
    answer = carrier.get(f"{PATH}/{batch_id}")
    conforms("get batch (first)", answer, ADDED_TO_DETAILS)
    data = conforms("get batch", answer, ADDED_TO_DETAILS)
    # The sample counts three payouts and shows one: we follow the count, in the order of the request
    payouts = data["payouts"]
    assert [payout["driverId"] for payout in payouts] == three_drivers
    assert [payout["amount"] for payout in payouts] == list(AMOUNTS_CENTS)
    assert [payout["fee"] for payout in payouts] == list(FEES_CENTS)
    assert data["totalFees"] == sum(FEES_CENTS) == 675


def test_batch_of_45_is_listed_as_scheduled_and_later_as_completed(carrier: Customer, three_drivers: list[str]) -> None:
    # Given 45 payouts of 45000 in a batch for tomorrow
    payouts = [{"amount": 45_000, "driverId": three_drivers[number % 3]} for number in range(45)]
    scheduled_for = time_from_now(days=1)
    created = carrier.post(PATH, {"name": WEEKLY, "payouts": payouts, "scheduledFor": scheduled_for}).data
    # When the scheduled payouts are listed
    answer = carrier.get("/api/v1/scheduled-payouts")
    # Then it is among them
    data = conforms("list scheduled payouts", with_only(answer, "data.items", created["id"]), ADDED_TO_BATCHES)
    assert data["items"][0]["name"] == WEEKLY
    assert is_same_time(data["items"][0]["scheduledFor"], scheduled_for)
    # When it has been run, and the batches are listed
    carrier.post(f"{PATH}/{created['id']}/run", {}).data  # noqa: B018
    until_batch(carrier, created["id"], "completed")
    answer = with_only(carrier.get(PATH), "data.items", created["id"])
    # Then it is among them. The two copies of this sample differ only in times.
    conforms("list batches (first)", answer, ADDED_TO_BATCHES)
    data = conforms("list batches", answer, ADDED_TO_BATCHES)
    # Its fees of 11250 are 45 times 250, the flat price outside of batches. The samples that create and show a batch
    # have 675 for three payouts, 0.5 % of each: 10125 for these. We follow those, as the price list does.
    (batch,) = data["items"]
    assert (batch["totalFees"], batch["netAmount"]) == (45 * 225, 2_025_000 - 45 * 225)


def test_scheduled_payouts_stats(carrier: Customer, body: dict[str, Any]) -> None:
    # Given a batch for tomorrow
    carrier.post(PATH, body).data  # noqa: B018
    # When the scheduled payouts are counted
    data = conforms("scheduled payouts stats", carrier.get("/api/v1/scheduled-payouts/stats"))
    # Then the total is that of the statuses, as in the sample
    assert data["total"] == sum(data["byStatus"].values())
    assert data["upcomingTotal"] >= sum(AMOUNTS_CENTS)
