"""The logs join: by its ids, one payout's way can be followed through gateway, workers and Paystream's webhook."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.stack import Stack

Line = dict[str, Any]


def lines(stack: Stack, service: str) -> list[Line]:
    """What a service has logged; every line is JSON, and has what each line must have."""
    found = [
        json.loads(line)
        for line in (stack.home / "logs" / f"{service}.log").read_text().splitlines(keepends=True)
        if line.endswith("\n")  # the last may be being written
    ]
    for line in found:
        assert {"event", "level", "timestamp", "service"} <= line.keys(), line
        assert line["service"] == service
    return found


def test_a_payout_is_followed_from_the_request_to_the_webhook(stack: Stack, customer: Customer) -> None:
    """Six lines of two services; each has an id of the one before."""
    # Given a payout, asked for in a request whose id the client chose
    driver_id, request_id = customer.verified_driver("Jane Doe")["id"], str(uuid.uuid4())
    body = json.dumps({"driverId": driver_id, "amount": 12_300}).encode()
    headers = customer.headers | {"X-Request-Id": request_id}
    payout = call(stack["gateway"], "POST", "/api/v1/payouts", body, headers).data["id"]
    customer.until_payout(payout, "completed")

    def one(service: str, event: str, fits: Callable[[Line], bool]) -> Line:
        return next(line for line in lines(stack, service) if line["event"] == event and fits(line))

    # Then the gateway's line joins the request to the payout,
    accepted = one("gateway", "payouts.accepted", lambda line: request_id in str(line))
    assert payout in str(accepted)
    # a worker's the payout to the message that it heard, and another its submission,
    queued = one("workers", "payouts.queued", lambda line: payout in line["payouts"])
    assert queued["message_id"]
    assert queued["actor"] == "payouts.queue"
    submitted = one("workers", "payouts.submitted", lambda line: payout in str(line["submissions"]))
    submission = next(name for name, payouts in submitted["submissions"].items() if payout in payouts)
    # the submission's answer Paystream's payment,
    sent = one("workers", "submission.accepted", lambda line: line["submission"] == submission)
    payment = sent["payments"][payout]
    # which its webhook names at the door,
    stored = one("gateway", "provider_webhooks.stored", lambda line: payment in str(line["events"]))
    assert next(event["event_id"] for event in stored["events"] if event["payment"] == payment)
    # and a worker has applied.
    wanted = {"payout": payout, "result": "applied"}
    one(
        "workers",
        "provider_events.applied",
        lambda line: any(wanted.items() <= event.items() for event in line["events"]),
    )
    # Nothing in them says who the driver is
    assert "Jane Doe" not in (stack.home / "logs" / "workers.log").read_text()
