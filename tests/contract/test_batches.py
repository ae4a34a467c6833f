"""Batches: creation reserves nothing; the release pays every driver once, or moves nothing."""

import itertools
import uuid
from typing import Any

import pytest

from tests.contract.customers import run_concurrently
from tests.support import ledger
from tests.support.batches import (
    AMOUNTS_CENTS,
    FEES_CENTS,
    PATH,
    batch_body,
    create_batch,
    time_from_now,
    until_batch,
)
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.simulator import Simulator
from tests.support.stack import Stack

TOTAL_CENTS = sum(AMOUNTS_CENTS)
NET_CENTS = [amount - fee for amount, fee in zip(AMOUNTS_CENTS, FEES_CENTS, strict=True)]
UNKNOWN = "batch_00000000000000000000000000"


def _release(customer: Customer, batch_id: str, action: str = "release") -> Any:
    return customer.post(f"{PATH}/{batch_id}/{action}", {})


def _assert_paid_once(stack: Stack, batch: Any) -> None:
    assert [payout["status"] for payout in batch["payouts"]] == ["completed"] * 3
    for payout, amount_cents, fee_cents in zip(batch["payouts"], AMOUNTS_CENTS, FEES_CENTS, strict=True):
        moved = ledger.transfers_of(stack["database_url"], payout["id"])
        assert sorted(moved) == sorted(ledger.transfers_of_completed(amount_cents, fee_cents))
    payments = Simulator(stack["paystream"]).payments_described(_mark(batch))
    assert sorted(payment["amount"] for payment in payments) == sorted(NET_CENTS)
    ledger.assert_ledger_consistent(stack["database_url"])


def _mark(batch: Any) -> str:
    """Return the text that only the descriptions of its payouts contain."""
    return str(batch["name"]).rpartition(" ")[2]


@pytest.mark.parametrize("action", ["release", "run"])
def test_released_batch_pays_every_driver_once(
    fast_stack: Stack, carrier: Customer, three_drivers: list[str], action: str
) -> None:
    # Given a queued batch
    created = create_batch(carrier, three_drivers)
    assert (created["urgency"], created["releasedAt"], created["completedAt"]) == ("standard", None, None)
    assert carrier.get(f"{PATH}/{created['id']}").data["status"] == "queued"
    # When it is released
    released = _release(carrier, created["id"], action).data
    assert (released["id"], released["status"]) == (created["id"], "processing")
    # Then it completes, and every driver is paid once at the batch price
    batch = until_batch(carrier, created["id"], "completed")
    _assert_paid_once(fast_stack, batch)
    assert batch["countsByStatus"]["completed"] == 3
    assert sum(batch["countsByStatus"].values()) == 3
    assert batch["createdAt"] <= batch["releasedAt"] <= batch["completedAt"]
    # and its payouts have its id in every list
    payout_id = batch["payouts"][0]["id"]
    assert carrier.payout(payout_id)["batchId"] == created["id"]
    for path in ("/api/v1/payouts", f"/api/v1/drivers/{three_drivers[0]}/payouts"):
        assert {item["id"]: item["batchId"] for item in carrier.items(path)}[payout_id] == created["id"]
    # and other payouts have none
    assert carrier.payout(carrier.pay(three_drivers[0], 1_000)["id"])["batchId"] is None


def test_concurrent_releases_pay_once(fast_stack: Stack, carrier: Customer, three_drivers: list[str]) -> None:
    # Given a queued batch
    batch_id = create_batch(carrier, three_drivers)["id"]
    # When many clients release and run it at once
    actions = ["release", "run"] * 6
    answers = run_concurrently(*[lambda action=action: _release(carrier, batch_id, action) for action in actions])
    # Then each response shows it as released
    assert {answer.data["status"] for answer in answers} <= {"processing", "completed"}
    assert len({answer.data["releasedAt"] for answer in answers}) == 1
    # and every driver is paid once
    _assert_paid_once(fast_stack, until_batch(carrier, batch_id, "completed"))


def test_completed_batch_is_not_paid_again(fast_stack: Stack, carrier: Customer, three_drivers: list[str]) -> None:
    # Given a completed batch
    batch_id = create_batch(carrier, three_drivers)["id"]
    released_at = _release(carrier, batch_id).data["releasedAt"]
    completed = until_batch(carrier, batch_id, "completed")
    for action in ("release", "run"):
        # When it is released again
        again = _release(carrier, batch_id, action).data
        # Then the response is unchanged
        assert (again["status"], again["releasedAt"]) == ("completed", released_at)
    assert carrier.get(f"{PATH}/{batch_id}").data == completed
    _assert_paid_once(fast_stack, completed)


def test_uncovered_batch_fails_and_can_be_run_after_funding(fast_stack: Stack, organization: Organization) -> None:
    # Given a batch that costs one cent more than the wallet has; its creation reserves nothing
    customer = organization.sandbox()
    drivers = [customer.register(name)["id"] for name in ("Paul Poor", "Pia Poor", "Pat Poor")]
    customer.fund(TOTAL_CENTS - 1)
    for driver_id in drivers:
        customer.until_verified(driver_id)
    created = create_batch(customer, drivers)
    before = customer.balance()
    assert before == {"available": TOTAL_CENTS - 1, "pending": 0, "inTransit": 0, "currency": "USD"}
    # When it is released
    answer = _release(customer, created["id"])
    # Then it is rejected with the amounts
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    amounts = {"available": TOTAL_CENTS - 1, "required": TOTAL_CENTS, "missing": 1}
    assert answer.error["details"].items() >= amounts.items()
    # and the batch has failed with its reason, and no money has moved
    failed = customer.get(f"{PATH}/{created['id']}").data
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "INSUFFICIENT_FUNDS")
    assert customer.balance() == before
    for payout in failed["payouts"]:
        assert ledger.transfers_of(fast_stack["database_url"], payout["id"]) == []
    assert [item["id"] for item in customer.items(PATH, status="failed")] == [created["id"]]
    # and a run fails in the same way
    again = _release(customer, created["id"], "run")
    assert (again.status, again.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    # When there is enough and it is run
    customer.fund(1)
    assert _release(customer, created["id"], "run").data["status"] == "processing"
    # Then every driver is paid
    batch = until_batch(customer, created["id"], "completed")
    assert not batch.get("failure")
    _assert_paid_once(fast_stack, batch)
    assert customer.balance() == before | {"available": 0}


def test_batch_completes_if_a_payout_was_paid(fast_stack: Stack, carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch with a payout that the bank will reject
    body = batch_body(three_drivers)
    body["payouts"][1]["description"] += " [simulate:fail:BANK_REJECTED]"
    batch_id = carrier.post(PATH, body).data["id"]
    # When it is released
    _release(carrier, batch_id).data  # noqa: B018
    # Then it completes, the others are paid, and that payout's money is returned
    batch = until_batch(carrier, batch_id, "completed")
    assert [payout["status"] for payout in batch["payouts"]] == ["completed", "failed", "completed"]
    assert {status: count for status, count in batch["countsByStatus"].items() if count} == {
        "completed": 2,
        "failed": 1,
    }
    assert ledger.transfers_of(fast_stack["database_url"], batch["payouts"][1]["id"]) == [
        ("available", "in_transit", 50_000),
        ("in_transit", "available", 50_000),
    ]
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def test_batch_fails_if_no_payout_was_paid(carrier: Customer, three_drivers: list[str]) -> None:
    body = batch_body(three_drivers)
    for payout in body["payouts"]:
        payout["description"] = "[simulate:fail:BANK_REJECTED]"
    batch_id = carrier.post(PATH, body).data["id"]
    _release(carrier, batch_id).data  # noqa: B018
    batch = until_batch(carrier, batch_id, "failed")
    assert [payout["status"] for payout in batch["payouts"]] == ["failed"] * 3
    assert batch["completedAt"]


@pytest.mark.parametrize("urgency", ["instant", "same_day"])
def test_payouts_have_the_urgency_of_their_batch(carrier: Customer, three_drivers: list[str], urgency: str) -> None:
    # Given the price of each single payout: only the standard rail has a batch price
    fees_cents = [
        carrier.get("/api/v1/payouts/instant/fee", amount=cents).data["fee"] if urgency == "instant" else 500
        for cents in AMOUNTS_CENTS
    ]
    # When a batch is created and released
    created = create_batch(carrier, three_drivers, urgency=urgency)
    assert (created["urgency"], created["totalFees"]) == (urgency, sum(fees_cents))
    _release(carrier, created["id"]).data  # noqa: B018
    # Then every payout has that rail and price
    batch = until_batch(carrier, created["id"], "completed")
    assert [payout["fee"] for payout in batch["payouts"]] == fees_cents
    assert {carrier.payout(payout["id"])["rail"] for payout in batch["payouts"]} == {urgency}


def test_batch_of_another_wallet_is_not_found(
    carrier_organization: Organization, carrier: Customer, three_drivers: list[str], organization: Organization
) -> None:
    # Given a batch in a sandbox
    batch_id = create_batch(carrier, three_drivers)["id"]
    # When another carrier, or the same carrier in production, requests it
    for other in (organization.sandbox(), carrier_organization.production()):
        # Then it is not found, and not released
        for method, path in (("GET", ""), ("POST", "/release"), ("POST", "/run")):
            answers = [
                other.get(f"{PATH}/{each}") if method == "GET" else other.post(f"{PATH}/{each}{path}", {})
                for each in (batch_id, UNKNOWN, "batch_xyz")
            ]
            assert [(answer.status, answer.error["code"]) for answer in answers] == [(404, "BATCH_NOT_FOUND")] * 3
        assert batch_id not in [item["id"] for item in other.items(PATH)]
    assert carrier.get(f"{PATH}/{batch_id}").data["status"] == "queued"


def test_repeated_creation_creates_one_batch(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch created with a key
    body, key = batch_body(three_drivers), uuid.uuid4().hex
    first = carrier.post(PATH, body, key)
    before = carrier.get(PATH, pageSize=1).data["total"]
    # When the request is repeated
    again = carrier.post(PATH, body, key)
    # Then the response is the same, and there is one batch
    assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
    assert carrier.get(PATH, pageSize=1).data["total"] == before
    # and the key can't be used for another request
    other = carrier.post(PATH, batch_body(three_drivers), key)
    assert (other.status, other.error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_batches_are_listed_newest_first_and_by_status(organization: Organization) -> None:
    # Given three queued batches
    customer = organization.sandbox()
    driver_id = customer.verified_driver()["id"]
    ids = [create_batch(customer, [driver_id] * 3)["id"] for _ in range(3)]
    # When they are listed
    data = customer.get(PATH).data
    # Then the newest is first
    assert [item["id"] for item in data["items"]] == ids[::-1]
    assert (data["total"], data["page"], data["pageSize"], data["hasNextPage"]) == (3, 1, 20, False)
    # and each is on one page
    pages = [customer.get(PATH, page=page, pageSize=2).data for page in (1, 2)]
    assert [item["id"] for page in pages for item in page["items"]] == ids[::-1]
    assert [page["hasNextPage"] for page in pages] == [True, False]
    # and the status filter applies
    for status in ("queued", "processing", "completed", "failed", "canceled"):
        assert customer.get(PATH, status=status).data["total"] == (3 if status == "queued" else 0)
    for query, field in (({"status": "lost"}, "status"), ({"pageSize": 101}, "pageSize"), ({"page": 0}, "page")):
        answer = customer.get(PATH, **query)
        assert (answer.status, answer.error["details"]["field"]) == (400, field)


def test_batch_of_ten_thousand(organization: Organization) -> None:
    # Given the largest allowed batch
    customer = organization.sandbox()
    driver_id = customer.verified_driver()["id"]
    payouts = [{"driverId": driver_id, "amount": 1_000 + number} for number in range(10_000)]
    # When it is created
    created = customer.post(
        PATH, {"name": "All drivers", "payouts": payouts, "scheduledFor": time_from_now(days=1)}
    ).data
    # Then all are counted, and the first are shown in order
    assert (created["payoutCount"], created["totalAmount"]) == (10_000, sum(payout["amount"] for payout in payouts))
    batch = customer.get(f"{PATH}/{created['id']}").data
    assert batch["payoutsTruncated"] is True
    assert [payout["amount"] for payout in batch["payouts"]] == list(range(1_000, 2_000))
    assert sum(batch["countsByStatus"].values()) == 10_000
    listed = itertools.islice(customer.items("/api/v1/payouts"), 100)
    assert {item["batchId"] for item in listed} == {created["id"]}
