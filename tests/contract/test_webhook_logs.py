"""Webhook logs: the events that Paystream sent about a customer's payouts, shown to that customer only."""

import json
import urllib.request
import uuid
from typing import Any

import pytest

from tests.support import provider_webhooks
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

LOGS = "/api/v1/webhooks/logs"


@pytest.fixture(scope="module")
def own_organization(fast_stack: Stack) -> Organization:
    """An organization of this module."""
    return Organization(fast_stack)


@pytest.fixture(scope="module")
def customer(own_organization: Organization) -> Customer:
    customer = own_organization.sandbox()
    customer.fund(1_000_000)
    return customer


@pytest.fixture(scope="module")
def production(own_organization: Organization) -> Customer:
    return own_organization.production()


@pytest.fixture(scope="module")
def driver_id(customer: Customer) -> str:
    return str(customer.verified_driver("Jane Doe")["id"])


@pytest.fixture(scope="module")
def production_driver(production: Customer) -> Any:
    return production.verified_driver("Pedro Prod")


@pytest.fixture(scope="module")
def completed_id(customer: Customer, driver_id: str) -> str:
    """A completed payout whose events are in the logs."""
    payout_id = str(customer.pay(driver_id, 45_000)["id"])
    customer.until_payout(payout_id, "completed")
    _until_processed(customer, payout_id, "payout.completed")
    return payout_id


def _logs_of(customer: Customer, payout_id: str, **query: str) -> list[Any]:
    return [item for item in customer.items(LOGS, **query) if item["payoutId"] == payout_id]


def _until_processed(customer: Customer, payout_id: str, event: str) -> Any:
    """Wait until the event is processed and return its log."""

    def probe() -> Any:
        logs = [log for log in _logs_of(customer, payout_id, event=event) if log["status"] != "pending"]
        return logs[0] if logs else None

    return until(probe, f"{event} of {payout_id} is processed")


def test_events_of_a_completed_payout_are_logged(customer: Customer, completed_id: str) -> None:
    # When the logs of a completed payout are listed
    *_, completed = _logs_of(customer, completed_id, event="payout.completed")
    # Then Paystream's payment.completed is listed as payout.completed, processed, with its original body
    assert completed["status"] == "success"
    assert completed["receivedAt"] <= completed["processedAt"]
    assert (completed["payload"]["type"], completed["payload"]["data"]["amount"]) == ("payment.completed", 44_750)
    # and so is every other event about this payment, each once, the newest first
    payment_id = completed["payload"]["data"]["paymentId"]

    def logged() -> Any:
        logs = [log for log in customer.items(LOGS) if log["payload"]["data"].get("paymentId") == payment_id]
        return logs if len(logs) >= 3 else None

    logs = until(logged, "events that arrived before the response to our call are in the log, too")
    assert [log["event"] for log in logs] == ["payout.completed", "payout.processing", "payout.created"]
    assert {log["payoutId"] for log in logs} == {completed_id}


def test_logs_are_filtered_by_event(customer: Customer, driver_id: str) -> None:
    # Given a payout that failed
    payout_id = customer.pay(driver_id, 45_000, description="[simulate:fail:BANK_REJECTED]")["id"]
    customer.until_payout(payout_id, "failed")
    # When only failures are requested, then only failures are listed
    _until_processed(customer, payout_id, "payout.failed")
    assert {log["event"] for log in customer.items(LOGS, event="payout.failed")} == {"payout.failed"}
    assert _logs_of(customer, payout_id, event="payout.completed") == []


def test_event_in_the_reference_format_is_logged_unchanged(
    fast_stack: Stack, customer: Customer, completed_id: str
) -> None:
    # When an event in the format of the API reference reports again that a payout is completed
    event = {
        "event": "payout.completed",
        "timestamp": "2026-02-08T10:00:00Z",
        "data": {"payoutId": completed_id, "status": "completed", "amount": 45_000},
        "signature": f"t=1234567890,v1={uuid.uuid4().hex}",
    }
    assert provider_webhooks.send_signed(fast_stack["gateway"], event, fast_stack["webhook_secret"]).status == 200
    # Then its log shows the complete body
    until(
        lambda: event in [log["payload"] for log in _logs_of(customer, completed_id, event="payout.completed")],
        "the event is in the logs, unchanged",
    )


@pytest.fixture(scope="module")
def mismatch(fast_stack: Stack, carrier: Customer, three_drivers: list[str]) -> Any:
    """The log of an event about a completed payout with an amount different from ours."""
    payout_id = carrier.pay(three_drivers[0], 45_000)["id"]
    carrier.until_payout(payout_id, "completed")
    correct = _until_processed(carrier, payout_id, "payout.completed")
    event = correct["payload"] | {"id": f"evt_{uuid.uuid4().hex}", "data": correct["payload"]["data"] | {"amount": 1}}
    assert provider_webhooks.send_signed(fast_stack["gateway"], event, fast_stack["webhook_secret"]).status == 200

    def probe() -> Any:
        return next((log for log in _logs_of(carrier, payout_id, status="error") if log["payload"] == event), None)

    return until(probe, "the mismatch is in the logs")


def test_logs_state_the_outcome_of_each_event(carrier: Customer, mismatch: Any) -> None:
    # Given an event that contradicts our record: its signature is valid, it changed nothing, and the log says why
    assert (mismatch["verified"], mismatch["status"]) == (True, "error")
    assert "amount 1 cents, expected 44750" in mismatch["outcome"]
    # and the event that completed the payout states so
    (correct,) = _logs_of(carrier, mismatch["payoutId"], status="success", event="payout.completed")
    assert (correct["verified"], correct["outcome"]) == (True, "completed: was processing")
    # and the payout stays completed
    assert carrier.payout(mismatch["payoutId"])["status"] == "completed"


def test_mismatch_and_its_payout_on_hold_are_counted_in_metrics(fast_stack: Stack, mismatch: Any) -> None:
    def counted(process: str, sample: str) -> bool:
        with urllib.request.urlopen(fast_stack["metrics"][process]) as answer:
            lines = answer.read().decode().splitlines()
        return any(line.startswith(f"{sample} ") and float(line.rpartition(" ")[2]) >= 1 for line in lines)

    until(lambda: counted("workers", 'ovnpay_provider_events_total{result="mismatch"}'), "the event is counted")
    until(lambda: counted("exporter", 'ovnpay_payouts{status="on_hold"}'), "the payout is counted")


def test_logs_are_filtered_by_status(carrier: Customer, mismatch: Any, organization: Organization) -> None:
    for status in ("success", "error", "pending"):
        assert {log["status"] for log in carrier.items(LOGS, status=status)} <= {status}
    assert mismatch["id"] in [log["id"] for log in carrier.items(LOGS, status="error", event="payout.completed")]
    assert _logs_of(carrier, mismatch["payoutId"], status="error", event="payout.failed") == []
    # and another carrier has none of them
    assert organization.sandbox().get(LOGS, status="error").data["total"] == 0
    assert carrier.get(LOGS, status="fine").error["code"] == "VALIDATION_ERROR"


def test_logs_are_filtered_by_date(carrier: Customer, mismatch: Any) -> None:
    # When logs are listed from an event's time on, then none is older
    at = mismatch["receivedAt"]
    assert [*carrier.items(LOGS, **{"from": at})][-1]["receivedAt"] >= at
    assert mismatch["id"] in [log["id"] for log in carrier.items(LOGS, **{"from": at})]
    # and only older ones are listed before that time
    before = list(carrier.items(LOGS, to=at))
    assert before
    assert max(log["receivedAt"] for log in before) < at
    # and a date stands for the whole day
    day = at[:10]
    assert mismatch["id"] in [log["id"] for log in carrier.items(LOGS, **{"from": day})]
    assert carrier.get(LOGS, to="2020-01-01").data["total"] == 0
    for query in ({"from": "yesterday"}, {"to": f"{day}T25:00:00Z"}, {"from": day, "to": day}):
        assert carrier.get(LOGS, **query).error["details"]["field"] in query


def test_logs_are_the_customers_own(
    fast_stack: Stack, customer: Customer, completed_id: str, production: Customer, production_driver: Any
) -> None:
    # Given a completed payout in each wallet, and an event about an unknown payment
    production.fund(2_000)
    live_id = production.pay(production_driver["id"], 2_000)["id"]
    unknown_id = f"evt_{uuid.uuid4().hex}"
    unknown = {
        "id": unknown_id,
        "type": "payment.completed",
        "data": {"paymentId": "pay_from_somewhere_else", "amount": 1, "status": "completed"},
        "timestamp": "2026-02-08T10:00:00Z",
    }
    assert provider_webhooks.send_signed(fast_stack["gateway"], unknown, fast_stack["webhook_secret"]).status == 200
    _until_processed(production, live_id, "payout.completed")
    # When each lists the logs
    sandbox_logs, live_logs = list(customer.items(LOGS)), list(production.items(LOGS))
    # Then neither sees logs of the other
    assert live_id not in [log["payoutId"] for log in sandbox_logs]
    assert completed_id not in [log["payoutId"] for log in live_logs]
    assert not {log["id"] for log in sandbox_logs} & {log["id"] for log in live_logs}
    assert unknown_id not in json.dumps(sandbox_logs + live_logs)


def test_logs_of_another_carrier_are_not_shown(
    carrier: Customer, three_drivers: list[str], organization: Organization
) -> None:
    # Given a carrier with logs
    payout_id = carrier.pay(three_drivers[0], 45_000)["id"]
    carrier.until_payout(payout_id, "completed")
    _until_processed(carrier, payout_id, "payout.completed")
    # When another carrier lists the logs, also of a matching event, then there are none
    other = organization.sandbox()
    assert (other.get(LOGS).data["items"], other.get(LOGS).data["total"]) == ([], 0)
    assert other.get(LOGS, event="payout.completed").data["items"] == []


def test_logs_are_listed_in_pages_of_fifty(customer: Customer, completed_id: str) -> None:
    data = customer.get(LOGS).data
    assert (data["page"], data["pageSize"]) == (1, 50)
    assert data["hasNextPage"] is (data["total"] > 50)
    assert len(data["items"]) == min(data["total"], 50)
    first = customer.get(LOGS, pageSize=1).data
    assert (len(first["items"]), first["hasNextPage"]) == (1, True)
    for query in ({"pageSize": 101}, {"page": 0}):
        assert customer.get(LOGS, **query).status == 400
