"""Inbound webhooks: only a fresh, valid signature on a valid event is accepted; other cases get their error.

The table of all cases with status and milliseconds is printed at the end.
"""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.contract.forged_webhooks import NAMES, Webhook, WebhookCases
from tests.support import provider_webhooks
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.raw_http import exchange, request
from tests.support.report_lines import report
from tests.support.simulator import Simulator
from tests.support.stack import Stack


class Row(NamedTuple):
    """One line of the table."""

    name: str
    status: int
    wanted: int
    code: str
    milliseconds: float


ROWS: list[Row] = []


class Target:
    """The system, and the payout of the webhooks, whose real webhooks were lost."""

    def __init__(self, stack: Stack, customer: Customer, driver_id: str) -> None:
        self.stack, self.customer = stack, customer
        paystream = Simulator(stack["paystream"])
        text = f"target {uuid.uuid4().hex}"
        with paystream.misbehaving("lost_webhook", text):
            self.payout_id = customer.pay(driver_id, 45_000, description=text)["id"]
            (payment,) = until(lambda: paystream.payments_described(text), "the provider has it")
            customer.until_payout(self.payout_id, "processing")
            until(lambda: paystream.payments_described(text)[0]["status"] == "completed", "the provider completed it")
        self.payment_id = str(payment["id"])
        self.cases = {one.name: one for one in WebhookCases(stack["webhook_secret"], self.payment_id).all()}
        self.before = self.rejected()

    def rejected(self) -> float:
        """Return the number of rejected webhooks by the metric."""
        with urllib.request.urlopen(self.stack["metrics"]["gateway"]) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(
            "ovnpay_provider_webhooks_refused_total{"))  # fmt: skip

    def send(self, case: Webhook) -> Row:
        """Send one case."""
        headers = [("Content-Type", b"application/json"), *case.more]
        headers += [("X-Signature", value.encode()) for value in case.headers]
        got = exchange(
            self.stack["gateway"],
            [request("POST", provider_webhooks.PATH.encode(), headers, case.body)],
            2,
            method="POST",
        )
        code = json.loads(got.body).get("error", {}).get("code", "") if got.body else ""
        return Row(case.name, got.status, case.status, code, got.milliseconds)


@pytest.fixture(scope="module")
def target(fast_stack: Stack, carrier: Customer, three_drivers: list[str]) -> Target:
    return Target(fast_stack, carrier, three_drivers[0])


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Report the response of every case at the end."""
    yield
    lines = [f"{'webhook':62} {'status':>6} {'ms':>7}  code"]
    for row in ROWS:
        mark = "" if row.status == row.wanted else f"  <-- not {row.wanted}"
        lines.append(f"{row.name[:62]:62} {row.status or '-':>6} {row.milliseconds:7.1f}  {row.code}{mark}")
    wrong = sum(row.status != row.wanted for row in ROWS)
    lines.append(f"{len(ROWS)} webhooks, {wrong} with a wrong response")
    report(*lines)


@pytest.mark.parametrize("name", NAMES)
def test_webhook_gets_its_response(target: Target, name: str) -> None:
    case = target.cases[name]
    row = target.send(case)
    ROWS.append(row)
    assert (row.status, case.code or row.code) == (case.status, row.code)


def test_invalid_webhooks_change_nothing_but_the_metric(target: Target) -> None:
    # Given all cases, then each rejected one was counted
    assert target.rejected() - target.before == sum(row.status == 401 for row in ROWS)
    # and the payout is still processing; the log has the accepted event once
    assert target.customer.payout(target.payout_id)["status"] == "processing"
    logs = [log for log in target.customer.items("/api/v1/webhooks/logs") if log["payoutId"] == target.payout_id]
    assert [(log["event"], log["verified"], log["status"]) for log in logs] == [("payout.processing", True, "success")]
    # When the provider's own event completes it, then it is completed
    event = WebhookCases(target.stack["webhook_secret"], target.payment_id).body("completed")
    assert (
        provider_webhooks.send_signed(target.stack["gateway"], json.loads(event), target.stack["webhook_secret"]).status
        == 200
    )
    target.customer.until_payout(target.payout_id, "completed")
