"""Every process of the system is killed in turn while clients post payouts and repeat requests without a response.

Each payout is paid exactly once, and the ledger is consistent.
"""

import http.client
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support import ledger
from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

pytestmark = pytest.mark.long

VICTIMS = ("workers", "gateway", "valkey", "postgres", "scheduler", "paystream", "workers", "postgres")
CLIENTS = 4
AMOUNT_CENTS = 1_000  # small: a fast machine accepts thousands meanwhile
ALL_COMPLETED_SECONDS = 60


def test_payouts_are_paid_once_while_each_process_is_killed(
    fast_stack: Stack, fast_customer: Customer, fast_driver_id: str, paystream: Simulator
) -> None:
    fast_customer.fund(10_000_000)
    before_cents = fast_customer.available_cents()
    numbers, stop = itertools.count(), threading.Event()
    answers: list[Answer] = []

    def client() -> None:
        while not stop.is_set():
            answers.append(_post_until_answered(fast_customer, fast_driver_id, next(numbers)))

    # Given clients that post payouts, and repeat requests without a response under the same key
    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    # When each process is killed, the next one after more payouts were accepted
    try:
        for name in VICTIMS:
            _kill(fast_stack, name)
            accepted = len(answers)
            until(lambda accepted=accepted: len(answers) > accepted + 5, f"payouts are accepted after {name} died", 30)
    finally:
        stop.set()
        for thread in clients:
            thread.join()
    # Then every payout of a response is completed
    assert {answer.status for answer in answers} == {200}
    payout_ids = {answer.data["id"] for answer in answers}
    assert len(payout_ids) == len(answers)

    def completed() -> bool:
        statuses = Counter(item["status"] for item in _mine(fast_customer, payout_ids))
        return statuses == {"completed": len(payout_ids)}

    until(completed, "all are completed", ALL_COMPLETED_SECONDS, pause_seconds=0.5)
    # and the simulator has one payment for each, and no other
    paid = Counter(_payout_id(payment) for payment in paystream.payments_described("<reaper"))
    assert paid == Counter(payout_ids)
    assert before_cents - fast_customer.available_cents() == AMOUNT_CENTS * len(payout_ids)
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def _post_until_answered(customer: Customer, driver_id: str, number: int) -> Answer:
    """Post a payout with one key until there is a response."""
    instant = number % 5 == 0
    body = {
        "driverId": driver_id,
        "amount": AMOUNT_CENTS,
        "urgency": "instant" if instant else "standard",
        "description": f"<reaper {number}>",
    }

    def attempt() -> Answer | None:
        with suppress(OSError, http.client.HTTPException):
            answer = customer.post("/api/v1/payouts", body, f"reaper/{number}")
            if answer.status not in (409, 503):
                return answer
        return None

    return until(attempt, f"payout {number} has a response", 60)


def _kill(stack: Stack, name: str) -> None:
    """Kill a process, and wait until the supervisor has started another."""
    pid = until(lambda: stack["processes"].get(name), f"{name} is running")
    os.kill(pid, signal.SIGKILL)
    until(lambda: stack["processes"].get(name) not in (None, pid), f"{name} was started again", 30)


def _mine(customer: Customer, payout_ids: set[str]) -> Iterator[Any]:
    return (item for item in customer.items("/api/v1/payouts") if item["id"] in payout_ids)


def _payout_id(payment: Any) -> str:
    """Return the payout id of a payment: from its metadata, or the start of its description."""
    return str((payment["metadata"] or {}).get("payoutId") or payment["description"].partition(" ")[0])
