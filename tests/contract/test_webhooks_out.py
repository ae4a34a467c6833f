"""Customer webhooks over HTTP: subscribe, receive and verify, test, rotate, pause, redeliver; and `ovnpay listen`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.contract.customers import send
from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack
from tests.support.webhook_receiver import ReceivedRequest, Receiver, running_receiver

PATH = "/api/v1/webhooks"
PAYOUT_ENDS = ["payout.succeeded", "payout.failed"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def program(fast_stack: Stack, receiver: Receiver) -> Customer:
    """A sandbox key of this module's own carrier, with $10,000 and a webhook for funding and drivers."""
    program = Organization(fast_stack).sandbox()
    subscribe(program, f"{receiver.url}/welcome", ["funding.settled", "driver.verified"])
    program.fund(1_000_000)
    return program


@pytest.fixture(scope="module")
def paid_driver(program: Customer) -> str:
    return str(program.verified_driver()["id"])


def subscribe(program: Customer, url: str, events: list[str]) -> Any:
    answer = program.post(PATH, {"url": url, "events": events})
    assert answer.status == 200, answer
    return answer.data


def received(receiver: Receiver, path: str, count: int) -> list[ReceivedRequest]:
    return until(lambda: found if len(found := receiver.at(path)) >= count else None, f"{count} calls of {path}")


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer


def test_payout_events_are_sent_with_signatures_that_a_library_verifies(
    program: Customer, paid_driver: str, receiver: Receiver
) -> None:
    # Given a webhook for payouts, whose secret is shown once
    made = subscribe(program, f"{receiver.url}/story", ["payout.created", "payout.succeeded"])
    shown = program.get(f"{PATH}/{made['id']}").data
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert program.get(PATH).data["items"][0] == shown
    # When a payout is created and paid
    payout = program.pay(paid_driver, 45_000)
    # Then both events arrive, verified by Standard Webhooks, ordered by their sequence
    calls = received(receiver, "/story", 2)
    bodies = [Webhook(made["secret"]).verify(call.body, call.headers) for call in calls]
    created, succeeded = sorted(bodies, key=lambda body: int(body["sequence"]))
    assert [created["type"], succeeded["type"]] == ["payout.created", "payout.succeeded"]
    assert created["apiVersion"] == "2026-02-01"
    assert created["data"] == payout
    assert (succeeded["data"]["id"], succeeded["data"]["status"]) == (payout["id"], "completed")
    # and are listed as deliveries, without any part of the response
    path = f"{PATH}/{made['id']}/deliveries"
    until(lambda: len(list(program.items(path, status="delivered"))) == 2, "both are recorded")
    answer = program.get(path)
    assert {one["id"] for one in answer.data["items"]} == {body["id"] for body in bodies}
    assert "a reply that is never shown" not in json.dumps(answer.data)
    # and are listed as events

    def listed() -> Any:
        found = program.get("/api/v1/events", types="payout.created,payout.succeeded").data["items"]
        return [event for event in found if event in bodies]

    in_order = sorted(bodies, key=lambda body: str(body["id"]))
    until(lambda: listed() == in_order, "both are listed")


def test_settled_funding_and_verified_drivers_are_sent(paid_driver: str, receiver: Receiver) -> None:
    funding, driver = (json.loads(call.body) for call in received(receiver, "/welcome", 2)[:2])
    assert (funding["type"], funding["data"]["amount"]) == ("funding.settled", 1_000_000)
    assert (funding["data"]["status"], funding["data"]["transactionId"][:4]) == ("settled", "txn_")
    assert (driver["type"], driver["data"]["id"]) == ("driver.verified", paid_driver)
    assert driver["data"]["kycStatus"] == "verified"


def test_test_event_rotated_secrets_and_redeliveries_verify(program: Customer, receiver: Receiver) -> None:
    # Given a webhook that received a test event
    made = subscribe(program, f"{receiver.url}/life", PAYOUT_ENDS)
    here = f"{PATH}/{made['id']}"
    tested = program.post(f"{here}/test", {}).data
    [call] = received(receiver, "/life", 1)
    assert Webhook(made["secret"]).verify(call.body, call.headers)["type"] == "webhook.test"
    # When its secret is rotated, then both verify during the grace period
    rotated = program.post(f"{here}/rotate-secret", {}).data
    assert rotated["secret"] != made["secret"]
    assert rotated["previousSecretValidUntil"] > rotated["updatedAt"]
    assert program.post(f"{here}/deliveries/{tested['id']}/redeliver", {}).status == 200
    again = received(receiver, "/life", 2)[1]
    assert again.headers["webhook-id"] == call.headers["webhook-id"] == tested["id"]
    assert again.body == call.body
    for secret in (made["secret"], rotated["secret"]):
        assert Webhook(secret).verify(again.body, again.headers)
    # When it is rotated once more without a grace period, then there is one signature only
    last = program.post(f"{here}/rotate-secret", {"gracePeriodHours": 0}).data
    assert last["previousSecretValidUntil"] is None
    assert program.post(f"{here}/deliveries/{tested['id']}/redeliver", {}).status == 200
    final = received(receiver, "/life", 3)[2]
    assert Webhook(last["secret"]).verify(final.body, final.headers)
    assert len(final.headers["webhook-signature"].split()) == 1


def test_events_of_a_paused_webhook_wait_until_it_is_active(
    program: Customer, paid_driver: str, receiver: Receiver
) -> None:
    made = subscribe(program, f"{receiver.url}/paused", ["payout.created"])
    here = f"{PATH}/{made['id']}"
    paused = send(program, "PUT", here, {"status": "paused"}).data
    assert (paused["status"], paused["pausedReason"]) == ("paused", "customer")
    refused(program.post(f"{here}/test", {}), 409, "WEBHOOK_NOT_ACTIVE")
    payout = program.pay(paid_driver, 45_000)
    until(lambda: len(list(program.items(f"{here}/deliveries", status="pending"))) == 1, "it waits")
    assert not receiver.at("/paused")
    assert send(program, "PUT", here, {"status": "active"}).data["pausedReason"] is None
    [call] = received(receiver, "/paused", 1)
    assert json.loads(call.body)["data"]["id"] == payout["id"]
    # Events since a time are redelivered
    since = json.loads(call.body)["createdAt"]
    assert program.post(f"{here}/redeliver", {"since": since}).data == {"count": 1, "until": None}
    assert received(receiver, "/paused", 2)[1].body == call.body
    # A deleted webhook is unknown
    assert send(program, "DELETE", here, None).status == 200
    refused(program.get(here), 404, "WEBHOOK_NOT_FOUND")


def test_webhook_that_answers_410_is_paused(program: Customer, receiver: Receiver) -> None:
    made = subscribe(program, f"{receiver.url}/status/410", PAYOUT_ENDS)
    watching = subscribe(program, f"{receiver.url}/watching", ["webhook.paused"])
    program.post(f"{PATH}/{made['id']}/test", {})
    shown = until(
        lambda: found if (found := program.get(f"{PATH}/{made['id']}").data)["status"] == "paused" else None,
        "it is paused",
    )
    assert shown["pausedReason"] == "gone"
    [call] = received(receiver, "/watching", 1)
    body = Webhook(watching["secret"]).verify(call.body, call.headers)
    assert (body["type"], body["data"]["id"]) == ("webhook.paused", made["id"])


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://example.com/", "events": PAYOUT_ENDS},
        {"url": "https://10.0.0.1/", "events": PAYOUT_ENDS},
        {"url": "https://user:password@example.com/", "events": PAYOUT_ENDS},
        {"url": "https://example.com/", "events": []},
        {"url": "https://example.com/", "events": ["payout.exploded"]},
        {"url": "https://example.com/" + "a" * 2_000, "events": PAYOUT_ENDS},
        {"url": "https://example.com/"},
        {"events": PAYOUT_ENDS},
    ],
)
def test_invalid_url_or_events_are_rejected(program: Customer, body: dict[str, object]) -> None:
    refused(program.post(PATH, body), 400, "VALIDATION_ERROR")


def test_replayed_response_has_no_secret_and_a_wallet_has_at_most_twenty_webhooks(fast_stack: Stack) -> None:
    program = Organization(fast_stack).sandbox()
    body = {"url": "https://example.com/", "events": PAYOUT_ENDS}
    first, repeat = (program.post(PATH, body, "one webhook") for _ in range(2))
    assert first.data["secret"].startswith("whsec_")
    assert repeat.data == {**first.data, "secret": None}
    for _ in range(19):
        subscribe(program, "https://example.com/", PAYOUT_ENDS)
    refused(program.post(PATH, body), 409, "TOO_MANY_WEBHOOKS")


def test_event_list_waits_for_the_next_event(program: Customer, paid_driver: str) -> None:
    def events_after(cursor: str, **query: object) -> Any:
        return program.get("/api/v1/events", after=cursor, types="payout.created", **query).data

    cursor = program.get("/api/v1/events", limit=1).data["after"]
    until(lambda: events_after(cursor)["items"] == [], "no events are left")
    started = time.monotonic()
    assert events_after(cursor, wait=1)["items"] == []
    assert time.monotonic() - started > 0.9
    payout = program.pay(paid_driver, 45_000)
    found = events_after(cursor, wait=10)
    assert [event["data"]["id"] for event in found["items"]] == [payout["id"]]
    assert events_after(found["after"])["items"] == []
    refused(program.get("/api/v1/events", after="evt_x"), 400, "VALIDATION_ERROR")
    refused(program.get("/api/v1/events", types="payout.exploded"), 400, "VALIDATION_ERROR")


def test_listen_forwards_signed_events_to_a_local_url(program: Customer, paid_driver: str, receiver: Receiver) -> None:
    # Given `ovnpay listen`, which forwards to a local program
    command = [sys.executable, "-m", "shared.cli", "listen", "--forward", f"{receiver.url}/laptop", "--json"]
    command += ["--types", "payout.created"]
    key = program.headers["Authorization"].removeprefix("Bearer ")
    environment = {**os.environ, "OVNPAY_API_URL": program.url, "OVNPAY_API_KEY": key}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listening:
        assert listening.stdout is not None
        assert listening.stderr is not None
        try:
            printed = [listening.stderr.readline(), listening.stderr.readline()]
            secret = printed[1].split()[-1]
            # When payouts are created
            payout_ids = [program.pay(paid_driver, 45_000)["id"] for _ in range(2)]
            # Then the program receives signed events, and they are printed
            calls = received(receiver, "/laptop", 2)
            lines = [json.loads(listening.stdout.readline()) for _ in range(2)]
        finally:
            listening.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                listening.wait(10)
        assert listening.returncode == 130
    events = [Webhook(secret).verify(call.body, call.headers) for call in calls[:2]]
    assert events == lines
    assert [event["data"]["id"] for event in events] == payout_ids
