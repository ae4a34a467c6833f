"""Paystream's door: only what is signed, fresh and whole is believed, and each kind gets its documented answer.

The table of all cases with status and milliseconds is printed at the end.
"""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.contract.forged_webhooks import NAMES, Maker, Webhook
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


class Door:
    """The systems under attack, and the payout that the webhooks speak of, whose own webhooks were lost."""

    def __init__(self, stack: Stack, without_previous: Stack, customer: Customer, driver_id: str) -> None:
        self.stack, self.without_previous, self.customer = stack, without_previous, customer
        paystream = Simulator(stack["paystream"])
        text = f"spoken of {uuid.uuid4().hex}"
        with paystream.misbehaving("lost_webhook", text):
            self.payout_id = customer.pay(driver_id, 45_000, description=text)["id"]
            (payment,) = until(lambda: paystream.payments_described(text), "it is at Paystream")
            customer.until_payout(self.payout_id, "processing")
            until(lambda: paystream.payments_described(text)[0]["status"] == "completed", "Paystream completed it")
        self.payment_id = str(payment["id"])
        self.cases = {one.name: one for one in Maker(stack["webhook_secret"], self.payment_id).all()}
        self.before = self.refused()

    def refused(self) -> float:
        """How many were refused, by the metric."""
        with urllib.request.urlopen(self.stack["metrics"]["gateway"]) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(
            "ovnpay_provider_webhooks_refused_total{"))  # fmt: skip

    def send(self, case: Webhook) -> Row:
        """One case, as bytes."""
        stack = self.without_previous if case.dropped else self.stack
        headers = [("Content-Type", b"application/json"), *case.more]
        headers += [("X-Signature", value.encode()) for value in case.headers]
        got = exchange(
            stack["gateway"], [request("POST", provider_webhooks.PATH.encode(), headers, case.body)], 2, method="POST"
        )
        code = json.loads(got.body).get("error", {}).get("code", "") if got.body else ""
        return Row(case.name, got.status, case.status, code, got.milliseconds)


@pytest.fixture(scope="module")
def door(fast_stack: Stack, stack: Stack, carrier: Customer, three_drivers: list[str]) -> Door:
    return Door(fast_stack, stack, carrier, three_drivers[0])


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Prints what every case got, when all are done."""
    yield
    lines = [f"{'webhook':62} {'status':>6} {'ms':>7}  code"]
    for row in ROWS:
        mark = "" if row.status == row.wanted else f"  <-- not {row.wanted}"
        lines.append(f"{row.name[:62]:62} {row.status or '-':>6} {row.milliseconds:7.1f}  {row.code}{mark}")
    wrong = sum(row.status != row.wanted for row in ROWS)
    lines.append(f"{len(ROWS)} webhooks, {wrong} answered wrongly")
    report(*lines)


@pytest.mark.parametrize("name", NAMES)
def test_each_gets_its_answer(door: Door, name: str) -> None:
    case = door.cases[name]
    row = door.send(case)
    ROWS.append(row)
    assert (row.status, case.code or row.code) == (case.status, row.code)


def test_it_is_as_if_nothing_had_come(door: Door) -> None:
    # Given all of these, then each that was refused was counted
    assert door.refused() - door.before == sum(row.status == 401 for row in ROWS if "dropped" not in row.name)
    # and the payout is where it was: nothing of what was said of it is in the log but what was taken, once
    assert door.customer.payout(door.payout_id)["status"] == "processing"
    logs = [log for log in door.customer.items("/api/v1/webhooks/logs") if log["payoutId"] == door.payout_id]
    assert [(log["event"], log["verified"], log["status"]) for log in logs] == [("payout.processing", True, "success")]
    # When Paystream itself says how it ended, then it has
    told = Maker(door.stack["webhook_secret"], door.payment_id).body("completed")
    assert (
        provider_webhooks.send_signed(door.stack["gateway"], json.loads(told), door.stack["webhook_secret"]).status
        == 200
    )
    door.customer.until_payout(door.payout_id, "completed")
