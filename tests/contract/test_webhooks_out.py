"""A customer's webhooks: subscribed, called and verified, tested, rotated, paused, redelivered; heard on a laptop."""

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
    """A sandbox key of a carrier of this module's own, that hears of its money and its drivers, and has $10,000."""
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


def heard(receiver: Receiver, path: str, count: int) -> list[ReceivedRequest]:
    return until(lambda: found if len(found := receiver.at(path)) >= count else None, f"{count} calls of {path}")


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer


def test_a_payout_is_told_signed_twice_and_verified_by_a_library(
    program: Customer, paid_driver: str, receiver: Receiver
) -> None:
    # Given a webhook for payouts, whose secret is shown once
    made = subscribe(program, f"{receiver.url}/story", ["payout.created", "payout.succeeded"])
    shown = program.get(f"{PATH}/{made['id']}").data
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert program.get(PATH).data["items"][0] == shown
    # When a payout is made and paid
    payout = program.pay(paid_driver, 45_000)
    # Then both are told, verified by Standard Webhooks, ordered by their sequence
    calls = heard(receiver, "/story", 2)
    bodies = [Webhook(made["secret"]).verify(call.body, call.headers) for call in calls]
    created, succeeded = sorted(bodies, key=lambda body: int(body["sequence"]))
    assert [created["type"], succeeded["type"]] == ["payout.created", "payout.succeeded"]
    assert created["apiVersion"] == "2026-02-01"
    assert created["data"] == payout
    assert (succeeded["data"]["id"], succeeded["data"]["status"]) == (payout["id"], "completed")
    # and listed: nothing of the reply is shown
    path = f"{PATH}/{made['id']}/deliveries"
    until(lambda: len(list(program.items(path, status="delivered"))) == 2, "both are recorded")
    answer = program.get(path)
    assert {one["id"] for one in answer.data["items"]} == {body["id"] for body in bodies}
    assert "a reply that is never shown" not in json.dumps(answer.data)
    # and listed for whoever would rather ask

    def listed() -> Any:
        found = program.get("/api/v1/events", types="payout.created,payout.succeeded").data["items"]
        return [event for event in found if event in bodies]

    in_order = sorted(bodies, key=lambda body: str(body["id"]))
    until(lambda: listed() == in_order, "both are in the feed")


def test_money_that_has_come_and_drivers_who_are_verified_are_told(paid_driver: str, receiver: Receiver) -> None:
    funding, driver = (json.loads(call.body) for call in heard(receiver, "/welcome", 2)[:2])
    assert (funding["type"], funding["data"]["amount"]) == ("funding.settled", 1_000_000)
    assert (funding["data"]["status"], funding["data"]["transactionId"][:4]) == ("settled", "txn_")
    assert (driver["type"], driver["data"]["id"]) == ("driver.verified", paid_driver)
    assert driver["data"]["kycStatus"] == "verified"


def test_test_rotate_and_redeliver(program: Customer, receiver: Receiver) -> None:
    # Given a webhook, tested
    made = subscribe(program, f"{receiver.url}/life", PAYOUT_ENDS)
    here = f"{PATH}/{made['id']}"
    tested = program.post(f"{here}/test", {}).data
    [call] = heard(receiver, "/life", 1)
    assert Webhook(made["secret"]).verify(call.body, call.headers)["type"] == "webhook.test"
    # When its secret is rotated, then for a while both verify
    rotated = program.post(f"{here}/rotate-secret", {}).data
    assert rotated["secret"] != made["secret"]
    assert rotated["previousSecretValidUntil"] > rotated["updatedAt"]
    assert program.post(f"{here}/deliveries/{tested['id']}/redeliver", {}).status == 200
    again = heard(receiver, "/life", 2)[1]
    assert again.headers["webhook-id"] == call.headers["webhook-id"] == tested["id"]
    assert again.body == call.body
    for secret in (made["secret"], rotated["secret"]):
        assert Webhook(secret).verify(again.body, again.headers)
    # When it is rotated once more, without grace, then the old ones do not
    last = program.post(f"{here}/rotate-secret", {"gracePeriodHours": 0}).data
    assert last["previousSecretValidUntil"] is None
    assert program.post(f"{here}/deliveries/{tested['id']}/redeliver", {}).status == 200
    final = heard(receiver, "/life", 3)[2]
    assert Webhook(last["secret"]).verify(final.body, final.headers)
    assert len(final.headers["webhook-signature"].split()) == 1


def test_while_paused_events_wait_and_then_come(program: Customer, paid_driver: str, receiver: Receiver) -> None:
    made = subscribe(program, f"{receiver.url}/paused", ["payout.created"])
    here = f"{PATH}/{made['id']}"
    paused = send(program, "PUT", here, {"status": "paused"}).data
    assert (paused["status"], paused["pausedReason"]) == ("paused", "customer")
    refused(program.post(f"{here}/test", {}), 409, "WEBHOOK_NOT_ACTIVE")
    payout = program.pay(paid_driver, 45_000)
    until(lambda: len(list(program.items(f"{here}/deliveries", status="pending"))) == 1, "it waits")
    assert not receiver.at("/paused")
    assert send(program, "PUT", here, {"status": "active"}).data["pausedReason"] is None
    [call] = heard(receiver, "/paused", 1)
    assert json.loads(call.body)["data"]["id"] == payout["id"]
    # Everything since a time comes once more
    since = json.loads(call.body)["createdAt"]
    assert program.post(f"{here}/redeliver", {"since": since}).data == {"count": 1, "until": None}
    assert heard(receiver, "/paused", 2)[1].body == call.body
    # Deleted, it is nobody's
    assert send(program, "DELETE", here, None).status == 200
    refused(program.get(here), 404, "WEBHOOK_NOT_FOUND")


def test_an_endpoint_that_is_gone_is_paused(program: Customer, receiver: Receiver) -> None:
    made = subscribe(program, f"{receiver.url}/status/410", PAYOUT_ENDS)
    watching = subscribe(program, f"{receiver.url}/watching", ["webhook.paused"])
    program.post(f"{PATH}/{made['id']}/test", {})
    shown = until(
        lambda: found if (found := program.get(f"{PATH}/{made['id']}").data)["status"] == "paused" else None,
        "it is paused",
    )
    assert shown["pausedReason"] == "gone"
    [call] = heard(receiver, "/watching", 1)
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
def test_what_can_not_be_called_is_refused(program: Customer, body: dict[str, object]) -> None:
    refused(program.post(PATH, body), 400, "VALIDATION_ERROR")


def test_a_secret_is_not_repeated_and_twenty_webhooks_are_enough(fast_stack: Stack) -> None:
    program = Organization(fast_stack).sandbox()
    body = {"url": "https://example.com/", "events": PAYOUT_ENDS}
    first, repeat = (program.post(PATH, body, "one webhook") for _ in range(2))
    assert first.data["secret"].startswith("whsec_")
    assert repeat.data == {**first.data, "secret": None}
    for _ in range(19):
        subscribe(program, "https://example.com/", PAYOUT_ENDS)
    refused(program.post(PATH, body), 409, "TOO_MANY_WEBHOOKS")


def test_the_feed_waits_for_the_next_event(program: Customer, paid_driver: str) -> None:
    def after(place: str, **query: object) -> Any:
        return program.get("/api/v1/events", after=place, types="payout.created", **query).data

    place = program.get("/api/v1/events", limit=1).data["after"]
    until(lambda: after(place)["items"] == [], "nothing is on its way")
    started = time.monotonic()
    assert after(place, wait=1)["items"] == []
    assert time.monotonic() - started > 0.9
    payout = program.pay(paid_driver, 45_000)
    found = after(place, wait=10)
    assert [event["data"]["id"] for event in found["items"]] == [payout["id"]]
    assert after(found["after"])["items"] == []
    refused(program.get("/api/v1/events", after="evt_x"), 400, "VALIDATION_ERROR")
    refused(program.get("/api/v1/events", types="payout.exploded"), 400, "VALIDATION_ERROR")


def test_a_developer_listens_on_his_laptop(program: Customer, paid_driver: str, receiver: Receiver) -> None:
    # Given a developer who forwards to his program
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
            said = [listening.stderr.readline(), listening.stderr.readline()]
            secret = said[1].split()[-1]
            # When payouts are made
            payout_ids = [program.pay(paid_driver, 45_000)["id"] for _ in range(2)]
            # Then his program hears of it as a webhook would, and he sees it
            calls = heard(receiver, "/laptop", 2)
            lines = [json.loads(listening.stdout.readline()) for _ in range(2)]
        finally:
            listening.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                listening.wait(10)
        assert listening.returncode == 130
    told = [Webhook(secret).verify(call.body, call.headers) for call in calls[:2]]
    assert told == lines
    assert [event["data"]["id"] for event in told] == payout_ids
