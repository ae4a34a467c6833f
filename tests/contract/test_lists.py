"""Lists: pages neither overlap nor skip items; filters and totals are correct."""

import uuid
from typing import Any

import pytest

from tests.support.customer import Customer


@pytest.fixture(scope="module")
def paid_three_times(customer: Customer) -> tuple[str, set[str]]:
    """A driver with exactly three completed payouts, and the payouts' ids."""
    driver_id = str(customer.verified_driver("Tom Three")["id"])
    payout_ids = {str(customer.pay(driver_id, cents)["id"]) for cents in (10_000, 20_000, 30_000)}
    for payout_id in payout_ids:
        customer.until_payout(payout_id, "completed")
    return driver_id, payout_ids


def test_payouts_are_listed_by_page(customer: Customer, paid_three_times: tuple[str, set[str]]) -> None:
    driver_id, payout_ids = paid_three_times

    def page(number: int) -> Any:
        return customer.get("/api/v1/payouts", driverId=driver_id, page=number, pageSize=2).data

    # When three payouts are listed two per page
    first, second, third = page(1), page(2), page(3)
    # Then two pages contain each once, and a third is empty
    assert [len(data["items"]) for data in (first, second, third)] == [2, 1, 0]
    assert {item["id"] for item in first["items"] + second["items"]} == payout_ids
    assert [data["hasNextPage"] for data in (first, second, third)] == [True, False, False]
    assert {(data["total"], data["pageSize"]) for data in (first, second, third)} == {(3, 2)}
    assert [data["page"] for data in (first, second, third)] == [1, 2, 3]


def test_full_last_page_has_no_next_page(customer: Customer, paid_three_times: tuple[str, set[str]]) -> None:
    data = customer.get("/api/v1/payouts", driverId=paid_three_times[0], pageSize=3).data
    assert (len(data["items"]), data["total"], data["hasNextPage"]) == (3, 3, False)


def test_payouts_are_filtered_by_status_and_driver(customer: Customer, paid_three_times: tuple[str, set[str]]) -> None:
    driver_id, payout_ids = paid_three_times

    def listed(**query: str) -> set[str]:
        return {item["id"] for item in customer.get("/api/v1/payouts", **query).data["items"]}

    assert listed(driverId=driver_id, status="completed") == payout_ids
    for status in ("validated", "queued", "processing", "failed", "canceled", "returned"):
        assert listed(driverId=driver_id, status=status) == set()
    assert listed(driverId="drv_00000000000000000000000000") == set()


def test_drivers_are_filtered_by_status(customer: Customer, driver_id: str) -> None:
    waiting = customer.register("Wanda Waiting", f"wanda+kyc_pending{uuid.uuid4().hex}@example.com")["id"]
    active = list(customer.items("/api/v1/drivers", status="active"))
    assert driver_id in [item["id"] for item in active]
    assert waiting not in [item["id"] for item in active]
    assert {item["status"] for item in active} == {"active"}
    assert list(customer.items("/api/v1/drivers", status="inactive")) == []
    assert {item["status"] for item in customer.items("/api/v1/drivers", status="pending")} <= {"pending"}


def test_driver_counts_paid_and_open_payouts(customer: Customer, paid_three_times: tuple[str, set[str]]) -> None:
    (line,) = [item for item in customer.items("/api/v1/drivers") if item["id"] == paid_three_times[0]]
    assert line["pendingPayouts"] == 0
    assert line["totalPaid"] in (60_000, 60_000 - 3 * 250), "the reference doesn't say whether with or without the fee"


def test_page_size_is_at_most_100_and_50_by_default(customer: Customer) -> None:
    for path in ("/api/v1/drivers", "/api/v1/payouts"):
        assert customer.get(path, pageSize=100).data["pageSize"] == 100
        data = customer.get(path).data
        assert (data["page"], data["pageSize"]) == (1, 50)
