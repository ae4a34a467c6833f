"""`GET /payouts/:id/timeline`: what happened to a payout, in every way that it can go, and what is expected next."""

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contract.customers import cancel_in_time, failed_payout, with_scenario
from tests.support import provider_webhooks
from tests.support.batches import PATH as BATCHES
from tests.support.batches import create_batch, is_same_time, time_from_now, until_batch
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.stack import Stack

NAMED = {"transition": "to", "transfer": "type", "provider_answer": "answer", "customer_event": "event"}
ACCEPTED = ["transition validated", "transfer reserve", "customer_event payout.created"]
SENT = ["transition queued", "submission", "transition processing", "submission", "provider_answer accepted"]
PAID = ["transition completed", "transfer settle", "transfer fee", "customer_event payout.succeeded"]
FAILED = ["transition failed", "transfer release", "customer_event payout.failed"]


@pytest.fixture(scope="module")
def john_id(three_drivers: list[str]) -> str:
    return three_drivers[0]


def told(customer: Customer, payout_id: str) -> Any:
    """The timeline, which begins with the beginning and is in order."""
    data = customer.get(f"/api/v1/payouts/{payout_id}/timeline").data
    assert data["payoutId"] == payout_id
    assert data["truncated"] is False
    times = [datetime.fromisoformat(event["at"]) for event in data["events"]]
    # Each worker has read its clock before it waited for the payout's lock
    assert all(later > earlier - timedelta(seconds=1) for earlier, later in itertools.pairwise(times))
    assert all(event["title"] for event in data["events"])
    return data


def story(data: Any) -> list[str]:
    """What happened, in a word or two each; without Paystream's webhooks, which come when they come."""
    return [
        " ".join([event["kind"], str(event["details"].get(NAMED.get(event["kind"], ""), ""))]).strip()
        for event in data["events"]
        if event["kind"] != "provider_webhook"
    ]


def webhooks(data: Any) -> list[tuple[str, str]]:
    """What Paystream told of it."""
    events = [event for event in data["events"] if event["kind"] == "provider_webhook"]
    return [(event["details"]["event"], event["details"]["status"]) for event in events]


def test_a_payout_that_is_paid(carrier: Customer, john_id: str) -> None:
    payout = carrier.pay(john_id, 45_000)
    carrier.until_payout(payout["id"], "completed")
    data = told(carrier, payout["id"])
    assert data["status"] == "completed"
    assert story(data) == [*ACCEPTED, *SENT, *PAID]
    assert ("payment.completed", "applied") in webhooks(data)
    # each amount is there, and the completed one says who said so
    transfers = {event["details"]["type"]: event["details"] for event in data["events"] if event["kind"] == "transfer"}
    assert {kind: details["amount"] for kind, details in transfers.items()} == {
        "reserve": 45_000,
        "settle": 44_750,
        "fee": 250,
    }
    assert data["events"][0]["title"] == "Accepted: $450.00 to John Smith"
    # and it may still come back, for some days
    assert data["next"]["kind"] == "return"
    days = (datetime.fromisoformat(data["next"]["by"]) - datetime.fromisoformat(times_of(data)[-1])).days
    assert 5 <= days <= 10, "five business days, with a weekend or two and holidays between them"


def times_of(data: Any) -> list[str]:
    return [event["at"] for event in data["events"]]


def test_an_instant_payout_takes_its_first_steps_at_once(carrier: Customer, john_id: str) -> None:
    payout = carrier.post("/api/v1/payouts/instant", {"driverId": john_id, "amount": 45_000}).data
    carrier.until_payout(payout["id"], "completed")
    data = told(carrier, payout["id"])
    assert story(data) == [*ACCEPTED, *SENT, *PAID]
    assert data["next"] is None


def test_a_payout_that_fails_and_is_retried(carrier: Customer, john_id: str) -> None:
    # Given a payout that the bank rejects
    payout_id = failed_payout(carrier, john_id)
    data = told(carrier, payout_id)
    assert story(data) == [*ACCEPTED, *SENT, *FAILED]
    failed = next(event for event in data["events"] if event["details"].get("to") == "failed")
    assert failed["details"]["failure"]["code"] == "BANK_REJECTED"
    assert data["next"]["kind"] == "customer"
    assert "retry" in data["next"]["expected"]
    # When it is retried, and fails again
    assert carrier.post(f"/api/v1/payouts/{payout_id}/retry", {}).data["status"] == "queued"
    until(lambda: story(told(carrier, payout_id)).count("transition failed") == 2, "it fails again")
    # Then both attempts are listed, the first as before
    data = told(carrier, payout_id)
    again = ["transition queued", "transfer reserve", *SENT[1:]]
    assert story(data) == [*ACCEPTED, *SENT, *FAILED, *again, *FAILED]
    submissions = {event["details"]["submissionId"] for event in data["events"] if event["kind"] == "submission"}
    assert len(submissions) == 2
    failures = [
        event["details"]["failure"]["code"] for event in data["events"] if event["details"].get("to") == "failed"
    ]
    assert failures == ["BANK_REJECTED", "BANK_REJECTED"]


def test_a_payout_that_comes_back(carrier: Customer, john_id: str) -> None:
    payout = with_scenario(carrier, "returned").pay(john_id, 45_000)
    carrier.until_payout(payout["id"], "returned")
    data = told(carrier, payout["id"])
    back = ["transition returned", "transfer return", "customer_event payout.returned"]
    assert story(data) == [*ACCEPTED, *SENT, *PAID, *back]
    [returned] = [event for event in data["events"] if event["details"].get("to") == "returned"]
    assert returned["details"]["failure"]["code"] == "ACCOUNT_CLOSED"
    assert data["next"] is None


def test_a_payout_in_a_batch_waits_for_its_time(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch for later
    batch = create_batch(carrier, three_drivers, scheduledFor=time_from_now(days=2))
    payout_id = carrier.get(f"{BATCHES}/{batch['id']}").data["payouts"][0]["id"]
    data = told(carrier, payout_id)
    # Then nothing is reserved, and it waits for that time
    assert story(data) == ["batch", "transition validated", "customer_event payout.created"]
    assert data["next"]["kind"] == "batch_release"
    assert is_same_time(data["next"]["by"], batch["scheduledFor"])
    # When it is run
    carrier.post(f"{BATCHES}/{batch['id']}/run", {}).data  # noqa: B018
    until_batch(carrier, batch["id"], "completed")
    # Then its money was reserved by that, and it went with the others
    data = told(carrier, payout_id)
    released = ["batch", "transition queued", "transfer reserve", *SENT[1:]]
    assert story(data) == ["batch", "transition validated", "customer_event payout.created", *released, *PAID]
    assert next(event for event in data["events"] if event["kind"] == "submission")["details"]["withOthers"] is True
    others = [payout["id"] for payout in carrier.get(f"{BATCHES}/{batch['id']}").data["payouts"][1:]]
    assert not [other for other in others if other in str(data)]


def test_batch_without_a_time_waits_for_its_release(carrier: Customer, three_drivers: list[str]) -> None:
    batch = create_batch(carrier, three_drivers)
    payout_id = carrier.get(f"{BATCHES}/{batch['id']}").data["payouts"][0]["id"]
    following = told(carrier, payout_id)["next"]
    assert (following["kind"], following["by"]) == ("batch_release", None)
    # When it is canceled
    answer = carrier.post(f"/api/v1/payouts/{payout_id}/cancel", {})
    assert answer.data["status"] == "canceled"
    data = told(carrier, payout_id)
    assert story(data)[-2:] == ["transition canceled", "customer_event payout.cancelled"]
    assert data["next"] is None


def test_a_canceled_payout_gets_its_money_back(carrier: Customer, john_id: str) -> None:
    _, [payout_id] = cancel_in_time(carrier, "/api/v1/payouts/:id/cancel", lambda: [carrier.pay(john_id, 45_000)["id"]])
    data = told(carrier, payout_id)
    assert story(data)[-3:] == ["transition canceled", "transfer release", "customer_event payout.cancelled"]
    assert data["next"] is None


def test_an_unknown_outcome_says_when_it_is_asked_again(carrier: Customer, john_id: str) -> None:
    # Given a payout that Paystream takes without answering
    payout = with_scenario(carrier, "provider_timeout").pay(john_id, 45_000)
    # When the call has timed out, then its outcome is unknown, and it is said when it is asked for again
    found = until(
        lambda: (
            data if (data := told(carrier, payout["id"]))["next"] and "unknown" in data["next"]["expected"] else None
        ),
        "its outcome is unknown",
        pause_seconds=0.03,
    )
    assert found["next"]["kind"] == "submission"
    assert found["next"]["by"] > times_of(found)[-1]
    assert story(found)[-1] == "provider_answer unknown"
    # And in the end, that it was asked twice under one key, and paid once
    carrier.until_payout(payout["id"], "completed")
    data = told(carrier, payout["id"])
    assert [line for line in story(data) if line.startswith("provider_answer")] == [
        "provider_answer unknown",
        "provider_answer accepted",
    ]
    sent = [event["details"] for event in data["events"] if event["kind"] == "submission"]
    assert len({details["submissionId"] for details in sent}) == 1
    assert sent[-1]["times"] == 2
    assert story(data).count("transfer settle") == 1


def test_a_held_payout_waits_for_a_person(fast_stack: Stack, carrier: Customer, john_id: str) -> None:
    # Given a payout that was paid
    payout = carrier.pay(john_id, 45_000)
    carrier.until_payout(payout["id"], "completed")
    # When Paystream says that it never was
    event = {"id": f"evt_{uuid.uuid4().hex}", "type": "payout.failed"}
    body = event | {"data": {"payoutId": payout["id"], "amount": 45_000, "status": "failed"}}
    assert provider_webhooks.send_signed(fast_stack["gateway"], body, fast_stack["webhook_secret"]).status == 200
    data = until(lambda: found if "hold" in story(found := told(carrier, payout["id"])) else None, "it is held")
    # Then no money has moved, and a person has to look
    assert story(data) == [*ACCEPTED, *SENT, *PAID, "hold"]
    assert ("payout.failed", "mismatch") in webhooks(data)
    assert (data["next"]["kind"], data["next"]["by"]) == ("person", None)


def test_a_double_is_warned_of(carrier: Customer, john_id: str) -> None:
    load = f"L-{uuid.uuid4().hex[:12]}"
    first = carrier.pay(john_id, 45_000, loadId=load)
    second = carrier.pay(john_id, 45_000, loadId=load)
    data = told(carrier, second["id"])
    [warning] = [event for event in data["events"] if event["kind"] == "warning"]
    assert first["id"] in warning["title"]


def test_timeline_of_unknown_payout_is_not_found(carrier: Customer) -> None:
    for payout_id in (f"pay_{'0' * 26}", "nonsense"):
        answer = carrier.get(f"/api/v1/payouts/{payout_id}/timeline")
        assert (answer.status, answer.error["code"]) == (404, "PAYOUT_NOT_FOUND")
