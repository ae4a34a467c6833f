"""The samples of the API reference on drivers, payouts, webhooks and the wallet: same request, same response.

Where two samples disagree, the test explains which of them we follow.
"""

import uuid

import pytest

from tests.contract.conformance import (
    ADDED_TO_DRIVERS,
    ADDED_TO_PAYOUTS,
    ADDED_TO_TOPUPS,
    SAMPLES,
    conforms,
    with_only,
)
from tests.contract.customers import cancel_in_time, failed_payout, send
from tests.contract.shape import at_path
from tests.support import ledger, provider_webhooks
from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

# A changed payout is returned with all fields; the samples show three.
WHOLE_PAYOUT = {"driverId", "amount", "fee", "netAmount", "rail", "requestedAt"}
ADDED_TO_STATEMENT = {"payoutId", "topupId"}
ADDED_TO_PROJECTION = {"shortfall", "pendingTopups", "settling", "openPayouts", "unscheduled"}
ADDED_TO_LOGS = {"receivedAt", "payoutId", "outcome", "verified", "totalIsMinimum"}


@pytest.fixture(scope="module")
def ovn_driver_id() -> str:
    """The `ovnDriverId` of the reference's driver, with a suffix: another test can register the same driver."""
    return f"{SAMPLES['register driver']['body']['ovnDriverId']}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def registered(customer: Customer, ovn_driver_id: str) -> Answer:
    """The reference's driver, registered with the reference's body."""
    sample = SAMPLES["register driver"]
    return customer.post(sample["path"], sample["body"] | {"ovnDriverId": ovn_driver_id})


@pytest.fixture(scope="module")
def john_id(customer: Customer, registered: Answer) -> str:
    """The id of the reference's driver, once verified."""
    return str(customer.until_verified(registered.data["id"])["id"])


@pytest.fixture(scope="module")
def created(customer: Customer, john_id: str) -> Answer:
    """The reference's payout. Its body lacks the `loadId` of its response; we send it, as the bulk samples do."""
    sample = SAMPLES["create payout"]
    return customer.post(sample["path"], sample["body"] | {"driverId": john_id, "loadId": "L-12345"})


def test_health_needs_no_key(customer: Customer) -> None:
    conforms("health", Customer(customer.url, key="").get("/health"))


def test_register_driver(registered: Answer, ovn_driver_id: str) -> None:
    driver = conforms("register driver", registered, ADDED_TO_DRIVERS)
    assert driver["ovnDriverId"] == ovn_driver_id


def test_get_driver(customer: Customer, john_id: str, ovn_driver_id: str) -> None:
    driver = conforms("get driver", customer.get(f"/api/v1/drivers/{john_id}"), ADDED_TO_DRIVERS)
    assert (driver["id"], driver["ovnDriverId"]) == (john_id, ovn_driver_id)


def test_list_drivers(customer: Customer, john_id: str) -> None:
    data = conforms("list drivers", customer.get("/api/v1/drivers"), ADDED_TO_DRIVERS)
    assert data["hasNextPage"] is (data["total"] > 50)
    assert john_id in [item["id"] for item in customer.items("/api/v1/drivers")]


def test_create_payout(created: Answer, john_id: str) -> None:
    payout = conforms("create payout", created, ADDED_TO_PAYOUTS)
    assert (payout["driverId"], payout["loadId"]) == (john_id, "L-12345")


def test_create_payout_accepts_the_body_of_the_sample(customer: Customer, john_id: str) -> None:
    sample = SAMPLES["create payout"]
    answer = customer.post(sample["path"], sample["body"] | {"driverId": john_id})
    for path in sample["determined"]:
        assert at_path(answer.body, path) == at_path(sample["response"], path), path
    # The sample's response has a loadId that its body lacks. We follow the body.
    assert answer.data["loadId"] is None


def test_get_payout(customer: Customer, created: Answer) -> None:
    customer.until_payout(created.data["id"], "completed")
    payout = conforms("get payout", customer.get(f"/api/v1/payouts/{created.data['id']}"), ADDED_TO_PAYOUTS)
    assert {name: payout[name] for name in ("id", "driverId", "requestedAt")} == {
        name: created.data[name] for name in ("id", "driverId", "requestedAt")
    }


def test_list_payouts(customer: Customer, created: Answer, john_id: str) -> None:
    # Given a driver whose only payout with a load is the sample's
    customer.until_payout(created.data["id"], "completed")
    # When the completed ones are listed
    answer = customer.get("/api/v1/payouts", driverId=john_id, status="completed", pageSize=50)
    # Then it is among them, as in the sample
    data = conforms("list payouts", with_only(answer, "data.items", created.data["id"]), ADDED_TO_PAYOUTS)
    assert data["hasNextPage"] is (data["total"] > 50)
    (item,) = data["items"]
    sample = SAMPLES["list payouts"]["response"]["data"]["items"][0]
    for name in ("loadId", "driverName", "amount", "fee", "netAmount", "status", "rail"):
        assert item[name] == sample[name], name


def test_list_driver_payouts(customer: Customer, created: Answer, john_id: str) -> None:
    # Given the sample's payout, completed
    customer.until_payout(created.data["id"], "completed")
    # When its driver's payouts are listed
    answer = customer.get(f"/api/v1/drivers/{john_id}/payouts")
    # Then it has the fee that was charged. The sample of this list shows a fee of 450 on the standard rail; the other
    # samples of this payout show 250, as the price list does (450 is the fee of the instant rail). We follow those.
    data = conforms("driver payouts", with_only(answer, "data.items", created.data["id"]), ADDED_TO_PAYOUTS)
    (item,) = data["items"]
    assert (item["driverId"], item["fee"], item["netAmount"]) == (john_id, 250, 44_750)
    assert data["total"] == len(answer.data["items"])


def test_cancel_payout(customer: Customer, john_id: str) -> None:
    answer, (payout_id,) = cancel_in_time(
        customer, SAMPLES["cancel payout"]["path"], lambda: [customer.pay(john_id, 45_000)["id"]]
    )
    assert conforms("cancel payout", answer, ADDED_TO_PAYOUTS | WHOLE_PAYOUT)["id"] == payout_id


def test_retry_payout(customer: Customer, john_id: str) -> None:
    # Given a failed payout
    payout_id = failed_payout(customer, john_id)
    # When it is retried
    answer = customer.post(f"/api/v1/payouts/{payout_id}/retry", {})
    # Then it is queued. Only this sample has `retriedAt`, not those of a payout or of a bulk retry.
    assert conforms("retry payout", answer, ADDED_TO_PAYOUTS | WHOLE_PAYOUT)["id"] == payout_id
    customer.until_payout(payout_id, "failed")


def test_instant_pay(customer: Customer, john_id: str) -> None:
    sample = SAMPLES["instant pay"]
    answer = customer.post(sample["path"], sample["body"] | {"driverId": john_id})
    assert conforms("instant pay", answer, ADDED_TO_PAYOUTS)["driverId"] == john_id


def test_instant_pay_fee(customer: Customer) -> None:
    conforms("instant pay fee", customer.get(SAMPLES["instant pay fee"]["path"]))


def test_funding_projection(customer: Customer) -> None:
    data = conforms("funding projection", customer.get("/api/v1/funding/projection"), ADDED_TO_PROJECTION)
    # The sample's three days add up to 825000 of an outflow of 1500000: it leaves out later days
    assert data["projectedOutflow"] == sum(day["outflow"] for day in data["dailyProjection"])
    assert data["projectedBalance"] == data["currentBalance"] - data["projectedOutflow"]


def test_top_up_is_pending_then_available_and_on_the_statement(customer: Customer) -> None:
    # Given a balance
    before = customer.balance()
    # When it is topped up as in the sample
    sample = SAMPLES["top up"]
    topup = conforms("top up", customer.post(sample["path"], sample["body"]), ADDED_TO_TOPUPS)
    assert topup["balance"] > 0
    # Then the money is pending, and available once it has arrived
    assert customer.balance()["pending"] in (before["pending"], before["pending"] + 500_000)
    until(lambda: customer.balance()["pending"] == 0, "the top-up has settled")
    assert customer.available_cents() >= before["available"] + 500_000
    # and the statement contains it, with its description and the new balance
    answer = customer.get("/api/v1/funding/transactions")
    (line,) = [item for item in answer.data["items"] if item["topupId"] == topup["transactionId"]]
    conforms("list funding transactions", with_only(answer, "data.items", line["id"]), ADDED_TO_STATEMENT)
    assert (line["amount"], line["description"]) == (500_000, sample["body"]["description"])
    assert line["balance"] >= 500_000


def test_balance(customer: Customer) -> None:
    conforms("balance", customer.get("/api/v1/balance"))


def test_paystream_webhook_in_the_shape_of_the_reference(stack: Stack, customer: Customer, driver_id: str) -> None:
    # Given a payout that Paystream has completed without sending a webhook
    paystream = Simulator(stack["paystream"])
    description = f"told by the sample {uuid.uuid4().hex}"
    with paystream.misbehaving("lost_webhook", description):
        payout = customer.pay(driver_id, 45_000, description=description)
        until(lambda: _completed_at(paystream, description), "Paystream has completed it")
        asked_before = paystream.stats()["calls"].get("GET /payments/{id}")
        # When the sample's webhook arrives, about this payout
        sample = SAMPLES["Paystream webhook"]
        body = sample["body"] | {"data": sample["body"]["data"] | {"payoutId": payout["id"]}}
        answer = provider_webhooks.send_signed(stack["gateway"], body, stack["webhook_secret"])
        # Then the payout completes by it, without a request to Paystream
        conforms("Paystream webhook", answer)
        customer.until_payout(payout["id"], "completed")
        assert paystream.stats()["calls"].get("GET /payments/{id}") == asked_before
    moved = ledger.transfers_of(stack["database_url"], payout["id"])
    assert sorted(moved) == sorted(ledger.transfers_of_completed(45_000, fee_cents=250))


def _completed_at(paystream: Simulator, description: str) -> bool:
    return [payment["status"] for payment in paystream.payments_described(description)] == ["completed"]


def test_webhook_logs(customer: Customer, created: Answer) -> None:
    # Given the sample's payout, completed by a webhook
    customer.until_payout(created.data["id"], "completed")
    # When the webhooks of that event are listed
    path, query = SAMPLES["webhook logs"]["path"], {"event": "payout.completed"}

    def logged() -> str | None:
        items = customer.get(path, **query).data["items"]
        return next((str(item["id"]) for item in items if item["payoutId"] == created.data["id"]), None)

    # Then its webhook is among them
    log_id = until(logged, "the webhook is in the logs")
    conforms("webhook logs", with_only(customer.get(path, **query), "data.items", log_id), ADDED_TO_LOGS)


def test_update_then_delete_driver(customer: Customer) -> None:
    # Given a verified driver like the reference's
    sample = SAMPLES["register driver"]["body"]
    body = sample | {"ovnDriverId": f"{sample['ovnDriverId']}-{uuid.uuid4().hex[:8]}"}
    driver = customer.until_verified(customer.post("/api/v1/drivers", body).data["id"])
    path = f"/api/v1/drivers/{driver['id']}"
    # When the phone number is updated
    updated = send(customer, "PUT", path, SAMPLES["update driver"]["body"])
    # Then the response and the driver have it
    assert conforms("update driver", updated, ADDED_TO_DRIVERS)["id"] == driver["id"]
    assert customer.get(path).data["phone"] == SAMPLES["update driver"]["body"]["phone"]
    # When the driver is deleted
    deleted = conforms("delete driver", send(customer, "DELETE", path))
    # Then the driver is not found
    assert deleted["id"] == driver["id"]
    assert customer.get(path).status == 404
