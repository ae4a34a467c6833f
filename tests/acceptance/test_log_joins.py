"""Log lines join by ids: a payout can be followed from the request through the workers to the provider event."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.stack import Stack

Line = dict[str, Any]


def lines(stack: Stack, service: str) -> list[Line]:
    """Return the log lines of a service; each is JSON with the required fields."""
    found = [
        json.loads(line)
        for line in (stack.home / "logs" / f"{service}.log").read_text().splitlines(keepends=True)
        if line.endswith("\n")  # the last line may be incomplete
    ]
    for line in found:
        assert {"event", "level", "timestamp", "service"} <= line.keys(), line
        assert line["service"] == service
    return found


def test_log_lines_of_a_payout_join_from_request_to_webhook(stack: Stack, customer: Customer) -> None:
    """Six lines of two services; each shares an id with the one before."""
    # Given a payout whose request has an id that the client chose
    driver_id, request_id = customer.verified_driver("Jane Doe")["id"], str(uuid.uuid4())
    body = json.dumps({"driverId": driver_id, "amount": 12_300}).encode()
    headers = customer.headers | {"X-Request-Id": request_id}
    payout = call(stack["gateway"], "POST", "/api/v1/payouts", body, headers).data["id"]
    customer.until_payout(payout, "completed")

    def find_line(service: str, event: str, matches: Callable[[Line], bool]) -> Line:
        return next(line for line in lines(stack, service) if line["event"] == event and matches(line))

    # Then a line of the gateway joins the request to the payout,
    accepted = find_line("gateway", "payouts.accepted", lambda line: request_id in str(line))
    assert payout in str(accepted)
    # two lines of the workers join the payout to its message and its submission,
    queued = find_line("workers", "payouts.queued", lambda line: payout in line["payouts"])
    assert queued["message_id"]
    assert queued["actor"] == "payouts.queue"
    submitted = find_line("workers", "payouts.submitted", lambda line: payout in str(line["submissions"]))
    submission = next(name for name, payouts in submitted["submissions"].items() if payout in payouts)
    # another the submission to Paystream's payment,
    sent = find_line("workers", "submission.accepted", lambda line: line["submission"] == submission)
    payment = sent["payments"][payout]
    # the gateway's next line the payment to the event of its webhook,
    stored = find_line("gateway", "provider_webhooks.stored", lambda line: payment in str(line["events"]))
    assert next(event["event_id"] for event in stored["events"] if event["payment"] == payment)
    # and the last line says that the event was applied.
    wanted = {"payout": payout, "result": "applied"}
    find_line(
        "workers",
        "provider_events.applied",
        lambda line: any(wanted.items() <= event.items() for event in line["events"]),
    )
    # and no line names the driver
    assert "Jane Doe" not in (stack.home / "logs" / "workers.log").read_text()
