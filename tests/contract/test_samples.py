"""Each sample of the reference, asked for as it says and compared with what it shows.

samples.json holds them letter by letter; `determined` are the values that the request, or the story before it, fixes.
"""

import json
import uuid
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import ledger, notice
from tests.acceptance.asking import Answer, until
from tests.acceptance.customer import Customer
from tests.acceptance.provider import Provider
from tests.acceptance.stack import Stack
from tests.contract.shape import TIME, additions, at_path, differences

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "samples.json").read_text(encoding="utf-8"))
# What we serve beyond a sample: from another sample of the same thing, from the request, or ours. Each is deliberate.
ADDED_TO_DRIVERS = {"email", "phone", "totalPaid", "pendingPayouts", "createdAt"}
ADDED_TO_PAYOUTS = {"loadId", "driverName", "completedAt", "description", "requestedBy", "attempt"}
ADDED_TO_TOPUPS = {"method", "description"}


def _conforms(name: str, answer: Answer, added: AbstractSet[str] = frozenset()) -> Any:
    """Assert that `answer` is what the sample `name` shows, in the envelope that the conventions add; its data."""
    sample = SAMPLES[name]
    assert answer.status == 200, answer
    assert differences(answer.body, sample["response"]) == []
    for path in sample["determined"]:
        assert at_path(answer.body, path) == at_path(sample["response"], path), path
    assert additions(answer.body, sample["response"]) <= added | {"meta"}
    assert uuid.UUID(answer.body["meta"]["requestId"])
    assert TIME.match(answer.body["meta"]["timestamp"])
    return answer.body["data"]


@pytest.fixture(scope="module")
def ovn_driver_id() -> str:
    """The number of the reference's driver, and a mark of our own: another story may register his."""
    return f"{SAMPLES['register driver']['body']['ovnDriverId']}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def registered(customer: Customer, ovn_driver_id: str) -> Answer:
    """The reference's driver, registered with the reference's body."""
    sample = SAMPLES["register driver"]
    return customer.post(sample["path"], sample["body"] | {"ovnDriverId": ovn_driver_id})


@pytest.fixture(scope="module")
def john_id(customer: Customer, registered: Answer) -> str:
    """The id of the reference's driver, once he is verified."""
    return str(customer.until_verified(registered.data["id"])["id"])


@pytest.fixture(scope="module")
def created(customer: Customer, john_id: str) -> Answer:
    """The reference's payout. Its body has no loadId though its answer has one: as in the bulk samples, we send it."""
    sample = SAMPLES["create payout"]
    return customer.post(sample["path"], sample["body"] | {"driverId": john_id, "loadId": "L-12345"})


def test_health_needs_no_key(customer: Customer) -> None:
    _conforms("health", Customer(customer.url, key="").get("/health"))


def test_register_driver(registered: Answer, ovn_driver_id: str) -> None:
    driver = _conforms("register driver", registered, ADDED_TO_DRIVERS)
    assert driver["ovnDriverId"] == ovn_driver_id


def test_get_driver(customer: Customer, john_id: str, ovn_driver_id: str) -> None:
    driver = _conforms("get driver", customer.get(f"/api/v1/drivers/{john_id}"), ADDED_TO_DRIVERS)
    assert (driver["id"], driver["ovnDriverId"]) == (john_id, ovn_driver_id)


def test_list_drivers(customer: Customer, john_id: str) -> None:
    data = _conforms("list drivers", customer.get("/api/v1/drivers"), {"createdAt"})
    assert data["hasNextPage"] is (data["total"] > 50)
    assert john_id in [item["id"] for item in customer.items("/api/v1/drivers")]


def test_create_payout(created: Answer, john_id: str) -> None:
    payout = _conforms("create payout", created, ADDED_TO_PAYOUTS)
    assert (payout["driverId"], payout["loadId"]) == (john_id, "L-12345")


def test_create_payout_takes_the_samples_body_as_it_stands(customer: Customer, john_id: str) -> None:
    sample = SAMPLES["create payout"]
    answer = customer.post(sample["path"], sample["body"] | {"driverId": john_id})
    for path in sample["determined"]:
        assert at_path(answer.body, path) == at_path(sample["response"], path), path


def test_get_payout(customer: Customer, created: Answer) -> None:
    customer.until_payout(created.data["id"], "completed")
    payout = _conforms("get payout", customer.get(f"/api/v1/payouts/{created.data['id']}"), ADDED_TO_PAYOUTS)
    assert {name: payout[name] for name in ("id", "driverId", "requestedAt")} == {
        name: created.data[name] for name in ("id", "driverId", "requestedAt")
    }


def test_list_payouts(customer: Customer, created: Answer, john_id: str) -> None:
    # Given a driver whose only payout with a load is the sample's
    customer.until_payout(created.data["id"], "completed")
    # When the completed ones are listed
    answer = customer.get("/api/v1/payouts", driverId=john_id, status="completed", pageSize=50)
    # Then it is among them, as the sample shows it
    (item,) = [item for item in answer.data["items"] if item["id"] == created.data["id"]]
    listed = answer.body | {"data": answer.data | {"items": [item]}}
    data = _conforms("list payouts", Answer(answer.status, answer.headers, listed), ADDED_TO_PAYOUTS)
    assert data["hasNextPage"] is (data["total"] > 50)
    sample = SAMPLES["list payouts"]["response"]["data"]["items"][0]
    for name in ("loadId", "driverName", "amount", "fee", "netAmount", "status", "rail"):
        assert item[name] == sample[name], name


def test_instant_pay(customer: Customer, john_id: str) -> None:
    sample = SAMPLES["instant pay"]
    answer = customer.post(sample["path"], sample["body"] | {"driverId": john_id})
    assert _conforms("instant pay", answer, ADDED_TO_PAYOUTS)["driverId"] == john_id


def test_instant_pay_fee(customer: Customer) -> None:
    _conforms("instant pay fee", customer.get(SAMPLES["instant pay fee"]["path"]))


def test_top_up_is_pending_then_available(customer: Customer) -> None:
    # Given a balance
    before = customer.balance()
    # When it is topped up as the sample does
    sample = SAMPLES["top up"]
    topup = _conforms("top up", customer.post(sample["path"], sample["body"]), ADDED_TO_TOPUPS)
    assert topup["balance"] > 0
    # Then the money is pending first, and available once the bank has sent it
    assert customer.balance()["pending"] in (before["pending"], before["pending"] + 500_000)
    until(lambda: customer.balance()["pending"] == 0, "the top-up has settled")
    assert customer.available_cents() >= before["available"] + 500_000


def test_balance(customer: Customer) -> None:
    _conforms("balance", customer.get("/api/v1/balance"))


def test_paystream_webhook_in_the_shape_of_the_reference(stack: Stack, customer: Customer, driver_id: str) -> None:
    # Given a payout that Paystream has completed without telling us
    paystream = Provider(stack["paystream"])
    description = f"told by the sample {uuid.uuid4().hex}"
    with paystream.misbehaving("lost_webhook", description):
        payout = customer.pay(driver_id, 45_000, description=description)
        until(lambda: _completed_at(paystream, description), "Paystream has completed it")
        asked_before = paystream.stats()["calls"].get("GET /payments/{id}")
        # When the reference's notice comes, about this payout
        sample = SAMPLES["Paystream webhook"]
        body = sample["body"] | {"data": sample["body"]["data"] | {"payoutId": payout["id"]}}
        answer = notice.send_signed(stack["gateway"], body, stack["webhook_secret"])
        # Then it is taken, and by it, not by asking Paystream, the payout completes
        _conforms("Paystream webhook", answer)
        customer.until_payout(payout["id"], "completed")
        assert paystream.stats()["calls"].get("GET /payments/{id}") == asked_before
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=250))


def _completed_at(paystream: Provider, description: str) -> bool:
    return [payment["status"] for payment in paystream.payments_described(description)] == ["completed"]
