"""Invalid batches are rejected with an error that names the item or field."""

import uuid

import pytest

from tests.contract.customers import send
from tests.support.batches import (
    PATH,
    batch_body,
    create_batch,
    is_same_time,
    time_from_now,
)
from tests.support.customer import Customer


@pytest.fixture(scope="module")
def unpayable(carrier: Customer) -> dict[str, str]:
    """Return drivers who can't be paid, by error code."""
    inactive = carrier.verified_driver("Ina Inactive")["id"]
    send(carrier, "PUT", f"/api/v1/drivers/{inactive}", {"status": "inactive"}).data  # noqa: B018
    unverified = carrier.register("Una Unverified", f"una+kyc_pending{uuid.uuid4().hex}@example.com")["id"]
    return {
        "DRIVER_INACTIVE": inactive,
        "KYC_PENDING": unverified,
        "DRIVER_NOT_FOUND": "drv_00000000000000000000000000",
    }


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        pytest.param({"driverId": "$DRIVER_NOT_FOUND"}, 404, "DRIVER_NOT_FOUND", id="unknown driver"),
        pytest.param({"driverId": "$KYC_PENDING"}, 422, "KYC_PENDING", id="driver not verified"),
        pytest.param({"driverId": "$DRIVER_INACTIVE"}, 422, "DRIVER_INACTIVE", id="driver is inactive"),
        pytest.param({"amount": 0}, 400, "VALIDATION_ERROR", id="amount is 0"),
        pytest.param({"amount": 100_000_001}, 400, "VALIDATION_ERROR", id="amount over the rail's limit"),
        pytest.param({"amount": "45000"}, 400, "VALIDATION_ERROR", id="amount is a text"),
        pytest.param({"currency": "EUR"}, 400, "VALIDATION_ERROR", id="unknown field"),
    ],
)
def test_one_invalid_payout_rejects_the_whole_batch(
    carrier: Customer,
    three_drivers: list[str],
    unpayable: dict[str, str],
    bad: dict[str, object],
    status: int,
    code: str,
) -> None:
    def totals() -> list[int]:
        return [carrier.get(path, pageSize=1).data["total"] for path in (PATH, "/api/v1/payouts")]

    # Given a batch with an invalid second payout and an unknown third driver
    body, before = batch_body(three_drivers), totals()
    body["payouts"][1] |= {name: unpayable.get(str(value).removeprefix("$"), value) for name, value in bad.items()}
    body["payouts"][2]["driverId"] = unpayable["DRIVER_NOT_FOUND"]
    # When it is sent
    answer = carrier.post(PATH, body)
    # Then the error is that of the first, and lists both
    assert (answer.status, answer.error["code"]) == (status, code), answer
    items = answer.error["details"]["items"]
    assert [(item["index"], item["code"]) for item in items] == [(1, code), (2, "DRIVER_NOT_FOUND")]
    assert all(item["error"] for item in items)
    # and nothing was created
    assert totals() == before


@pytest.mark.parametrize(
    ("change_", "field"),
    [
        pytest.param({"payouts": []}, "payouts", id="no payouts"),
        pytest.param(
            {"payouts": [{"driverId": "drv_abc123", "amount": 1_000}] * 10_001}, "payouts", id="10001 payouts"
        ),
        pytest.param({"payouts": {}}, "payouts", id="payouts is not a list"),
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"name": "W" * 201}, "name", id="a name of 201 letters"),
        pytest.param({"name": 7}, "name", id="name is a number"),
        pytest.param({"urgency": "yesterday"}, "urgency", id="unknown urgency"),
        pytest.param({"scheduledFor": "2026-01-31T17:00:00Z"}, "scheduledFor", id="scheduled for the past"),
        pytest.param({"scheduledFor": time_from_now(days=9)[:-1]}, "scheduledFor", id="scheduled without an offset"),
        pytest.param({"scheduledFor": time_from_now(days=9)[:10]}, "scheduledFor", id="scheduled for a date"),
        pytest.param({"scheduledFor": "2099-02-30T17:00:00Z"}, "scheduledFor", id="scheduled for an impossible date"),
        pytest.param({"scheduledFor": 4_073_000_000}, "scheduledFor", id="scheduledFor is a number"),
        pytest.param({"currency": "EUR"}, "currency", id="unknown field"),
    ],
)
def test_malformed_batch_is_rejected(
    carrier: Customer, three_drivers: list[str], change_: dict[str, object], field: str
) -> None:
    answer = carrier.post(PATH, batch_body(three_drivers) | change_)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR"), answer
    assert answer.error["details"]["field"] == field
    assert field in answer.error["message"]


def test_scheduled_time_may_have_an_offset(carrier: Customer, three_drivers: list[str]) -> None:
    there = f"{time_from_now(days=9)[:-1]}+05:30"
    created = create_batch(carrier, three_drivers, scheduledFor=there)
    assert created["scheduledFor"].endswith("Z")
    assert is_same_time(created["scheduledFor"], there)
