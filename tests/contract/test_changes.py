"""Cancel, retry and bulk operations, updated and deleted drivers, the statement: shapes and rules of the reference."""

import itertools
import uuid
from typing import Any

import pytest

from tests.contract.customers import failed_payout, send
from tests.support.customer import Customer


@pytest.fixture(scope="module")
def dora_id(customer: Customer) -> str:
    """A driver of this module."""
    return str(customer.verified_driver("Dora Bulk")["id"])


def test_payout_can_be_canceled_before_it_is_submitted(customer: Customer, dora_id: str) -> None:
    """Later it is a conflict that names the status."""
    for _ in range(50):
        payout_id = customer.pay(dora_id, 45_000)["id"]
        answer = customer.post(f"/api/v1/payouts/{payout_id}/cancel", {})
        if answer.status == 200:
            break
        assert (answer.status, answer.body["error"]["code"]) == (409, "PAYOUT_NOT_CANCELABLE")
        assert answer.body["error"]["details"]["status"] in ("processing", "completed")
    assert (answer.data["id"], answer.data["status"]) == (payout_id, "canceled")
    assert answer.data["canceledAt"]
    again = customer.post(f"/api/v1/payouts/{payout_id}/cancel", {})
    assert (again.status, again.body["error"]["details"]["status"]) == (409, "canceled")


def test_only_failed_payouts_can_be_retried(customer: Customer, dora_id: str) -> None:
    payout_id = failed_payout(customer, dora_id)
    answer = customer.post(f"/api/v1/payouts/{payout_id}/retry", {})
    assert (answer.data["id"], answer.data["status"], answer.data["attempt"]) == (payout_id, "queued", 2)
    assert answer.data["retriedAt"]
    done = customer.pay(dora_id, 45_000)["id"]
    customer.until_payout(done, "completed")
    refused = customer.post(f"/api/v1/payouts/{done}/retry", {})
    assert (refused.status, refused.body["error"]["code"]) == (409, "PAYOUT_NOT_RETRYABLE")


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_unknown_payouts_are_not_found(customer: Customer, action: str) -> None:
    for payout_id in ("pay_xyz", "pay_00000000000000000000000000"):
        assert customer.post(f"/api/v1/payouts/{payout_id}/{action}", {}).status == 404


def test_invalid_item_of_a_bulk_request_does_not_affect_the_others(customer: Customer, dora_id: str) -> None:
    """Results are in the order of the request; a repeat with the same key gets the same response."""
    body = {
        "urgency": "standard",
        "payouts": [
            {"amount": 45_000, "driverId": dora_id, "loadId": f"L-{uuid.uuid4().hex}", "description": "Load"},
            {"amount": "much", "driverId": dora_id},
            {"amount": 40_000, "driverId": "drv_abc123"},
            "nonsense",
            {"amount": 50_000, "driverId": dora_id},
        ],
    }
    key = uuid.uuid4().hex
    answer = customer.post("/api/v1/payouts/bulk", body, key)
    data = answer.data
    assert (data["succeeded"], data["failed"], data["total"]) == (2, 3, 5)
    assert [result["index"] for result in data["results"]] == [0, 1, 2, 3, 4]
    assert [result["status"] for result in data["results"]] == ["success", "error", "error", "error", "success"]
    assert [result.get("code") for result in data["results"]] == [
        None,
        "VALIDATION_ERROR",
        "DRIVER_NOT_FOUND",
        "VALIDATION_ERROR",
        None,
    ]
    assert "amount" in data["results"][1]["error"]
    first = data["results"][0]["item"]
    assert (first["driverId"], first["amount"], first["status"]) == (dora_id, 45_000, "validated")
    again = customer.post("/api/v1/payouts/bulk", body, key)
    assert again.body == answer.body
    for place in (0, 4):
        customer.until_payout(data["results"][place]["item"]["id"], "completed")


@pytest.mark.parametrize("count", [0, 101])
@pytest.mark.parametrize(
    ("path", "name", "item"),
    [
        ("/api/v1/payouts/bulk", "payouts", {"amount": 1_000, "driverId": "drv_x"}),
        ("/api/v1/payouts/bulk/cancel", "payoutIds", "pay_x"),
        ("/api/v1/payouts/bulk/retry", "payoutIds", "pay_x"),
        ("/api/v1/drivers/bulk", "drivers", {"ovnDriverId": "x", "name": "x", "email": "x@x.example"}),
    ],
)
def test_empty_or_oversized_bulk_request_is_rejected_as_a_whole(
    customer: Customer, path: str, name: str, item: object, count: int
) -> None:
    answer = customer.post(path, {name: [item] * count})
    assert (answer.status, answer.body["error"]["details"]["field"]) == (400, name)


def test_bulk_retry_and_cancel_return_a_result_for_each_id(customer: Customer, dora_id: str) -> None:
    """As in the reference: an item that can't be changed is an error with its status, and the others succeed."""
    broken = failed_payout(customer, dora_id)
    done = customer.pay(dora_id, 45_000)["id"]
    customer.until_payout(done, "completed")
    retried = customer.post("/api/v1/payouts/bulk/retry", {"payoutIds": [broken, done, "pay_xyz"]}).data
    assert (retried["succeeded"], retried["failed"]) == (1, 2)
    assert retried["results"][0]["item"] == {"id": broken, "status": "queued"}
    assert retried["results"][1]["item"] == {"id": done, "status": "completed"}
    assert [result.get("code") for result in retried["results"]] == [None, "PAYOUT_NOT_RETRYABLE", "PAYOUT_NOT_FOUND"]
    canceled = customer.post("/api/v1/payouts/bulk/cancel", {"payoutIds": [done, "pay_xyz"]}).data
    assert [result["code"] for result in canceled["results"]] == ["PAYOUT_NOT_CANCELABLE", "PAYOUT_NOT_FOUND"]


def test_drivers_of_a_bulk_request_are_registered_independently(customer: Customer) -> None:
    """The request has two new drivers, one of them twice, and one without a name."""
    marks = [uuid.uuid4().hex for _ in range(3)]
    drivers: list[dict[str, Any]] = [
        {"ovnDriverId": mark, "name": "Jane Doe", "email": "jane@drivers.example", "phone": "+15551234568"}
        for mark in (marks[0], marks[1], marks[0], marks[2])
    ]
    del drivers[3]["name"]
    data = customer.post("/api/v1/drivers/bulk", {"drivers": drivers}).data
    assert [result["status"] for result in data["results"]] == ["success", "success", "error", "error"]
    assert [result.get("code") for result in data["results"]] == [None, None, "DRIVER_EXISTS", "VALIDATION_ERROR"]
    assert {result["item"]["status"] for result in data["results"][:2]} == {"invited"}
    for result in data["results"][:2]:
        customer.until_verified(result["item"]["id"])


def test_driver_can_be_updated_deactivated_and_deleted(customer: Customer) -> None:
    """An inactive driver can't be paid, and a deleted one is not found."""
    driver = customer.verified_driver("Ed Edited")
    path = f"/api/v1/drivers/{driver['id']}"
    edited = send(customer, "PUT", path, {"name": "Edwin Edited", "status": "inactive"}).data
    assert (edited["name"], edited["status"], edited["email"]) == ("Edwin Edited", "inactive", driver["email"])
    refused = customer.post("/api/v1/payouts", {"driverId": driver["id"], "amount": 45_000})
    assert (refused.status, refused.body["error"]["code"]) == (422, "DRIVER_INACTIVE")
    assert send(customer, "PUT", path, {"status": "active"}).data["status"] == "active"
    assert send(customer, "PUT", path, {"kycStatus": "verified"}).status == 400
    assert send(customer, "DELETE", path).data["status"] == "inactive"
    assert customer.get(path).status == 404
    assert send(customer, "DELETE", path).status == 404


def test_payouts_of_a_driver_are_listed_newest_first(customer: Customer, dora_id: str) -> None:
    payout_id = customer.pay(dora_id, 45_000)["id"]
    page = customer.get(f"/api/v1/drivers/{dora_id}/payouts", pageSize=1).data
    assert (page["items"][0]["id"], page["hasNextPage"]) == (payout_id, True)
    assert all(item["driverId"] == dora_id for item in customer.items(f"/api/v1/drivers/{dora_id}/payouts"))
    assert customer.get("/api/v1/drivers/drv_abc123/payouts").status == 404


def test_statement_balances_add_up(production: Customer) -> None:
    """Each balance is the previous balance plus the signed amount, also when filtered by type."""
    lines = list(reversed(list(production.items("/api/v1/funding/transactions"))))
    signs = {"credit": 1, "debit": -1, "release": 1, "return": 1}
    for before, line in itertools.pairwise(lines):
        assert line["balance"] == before["balance"] + signs[line["type"]] * line["amount"]
    credits = list(production.items("/api/v1/funding/transactions", type="credit"))
    assert credits == [line for line in reversed(lines) if line["type"] == "credit"]
    assert credits
    assert production.get("/api/v1/funding/transactions", type="nonsense").status == 400
