"""Redis forgets everything, or the workers die, while payouts are under way: that costs latency, never a payout.

"If Redis is wiped, restarted or duplicates everything it holds, that costs latency, never a payout and never a cent."
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from tests.acceptance import ledger
from tests.acceptance.asking import until
from tests.acceptance.crowd import post_all
from tests.acceptance.customer import Customer
from tests.acceptance.provider import Provider
from tests.acceptance.stack import Stack, descendants_of

PAYOUTS = 120
AMOUNT_CENTS, FEE_CENTS = 20_000, 250
ALL_COMPLETED_SECONDS = 60


def test_redis_wiped_while_payouts_are_under_way(
    impatient_stack: Stack, impatient_customer: Customer, impatient_driver_id: str, paystream: Provider
) -> None:
    before_cents = impatient_customer.available_cents()
    # Given a Redis that loses everything it holds, several times a second
    with (
        redis.Redis.from_url(impatient_stack["redis_url"]) as doorbell,
        _meanwhile(doorbell.flushall, every_seconds=0.25) as wiped,
    ):
        # When payouts are asked for and begin their way, until it was wiped a dozen times
        payout_ids = _post(impatient_customer, impatient_driver_id, "wiped")
        until(lambda: wiped() >= 12, "Redis was wiped a dozen times")
    # Then all complete, each once
    _all_completed_once(impatient_customer, payout_ids, paystream, "wiped", before_cents)
    ledger.prove(impatient_stack["database_url"])


def test_workers_killed_while_payouts_are_under_way(
    impatient_stack: Stack, impatient_customer: Customer, impatient_driver_id: str, paystream: Provider
) -> None:
    before_cents = impatient_customer.available_cents()
    # Given payouts on their way to a Paystream that answers slowly, so that calls are in the air
    with paystream.misbehaving("slow:0.4", "killed"):
        payout_ids = _post(impatient_customer, impatient_driver_id, "killed")
        until(lambda: paystream.payments_described("killed"), "the first is at Paystream")
        # When the workers are killed, and killed again once they are back
        for _ in range(2):
            _kill_workers(impatient_stack)
    # Then all complete, each once
    _all_completed_once(impatient_customer, payout_ids, paystream, "killed", before_cents)
    ledger.prove(impatient_stack["database_url"])


@contextmanager
def _meanwhile(act: Callable[[], object], every_seconds: float) -> Iterator[Callable[[], int]]:
    """Do `act` again and again in a thread, until the block ends; gives how to ask how often that was."""
    enough = threading.Event()
    done = 0

    def again() -> None:
        nonlocal done
        while not enough.wait(every_seconds):
            act()
            done += 1

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield lambda: done
    finally:
        enough.set()
        thread.join()


def _post(customer: Customer, driver_id: str, story: str) -> set[str]:
    """Ask for the payouts of `story`, every fourth of them instant, from 16 clients; their ids."""
    requests = [
        (
            {
                "driverId": driver_id,
                "amount": AMOUNT_CENTS,
                "urgency": "standard" if number % 4 else "instant",
                "description": f"{story} <{number}>",
            },
            f"{story}/{number}",
        )
        for number in range(PAYOUTS)
    ]
    _, posted = post_all(customer, "/api/v1/payouts", requests, clients=16)
    assert {post.status for post in posted} == {200}
    return {post.answer["data"]["id"] for post in posted}


def _kill_workers(stack: Stack) -> None:
    """SIGKILL all worker processes at once, and wait until the stack has started others."""
    killed = until(lambda: stack.pid("workers"), "the workers run")
    for pid in (killed, *descendants_of(killed)):
        with suppress(ProcessLookupError):  # a child that went with its master
            os.kill(pid, signal.SIGKILL)
    until(lambda: stack.pid("workers") not in (None, killed), "the workers were started again")


def _all_completed_once(
    customer: Customer, payout_ids: set[str], paystream: Provider, story: str, before_cents: int
) -> None:
    def payouts() -> list[Any]:
        return [item for item in customer.items("/api/v1/payouts") if item["id"] in payout_ids]

    def completed() -> bool:
        statuses = Counter(payout["status"] for payout in payouts())
        assert "failed" not in statuses, statuses
        return statuses["completed"] == PAYOUTS

    until(completed, f"all of {story} are completed", ALL_COMPLETED_SECONDS, pause_seconds=0.5)
    # as Paystream's own record has it: nothing twice, nothing missing, each its net amount
    paid = paystream.payments_described(f"{story} <")
    assert Counter(payment["description"].rpartition(" ")[2] for payment in paid) == Counter(
        f"<{number}>" for number in range(PAYOUTS)
    )
    net_cents = {payout["netAmount"] for payout in payouts()}
    assert net_cents == {AMOUNT_CENTS - FEE_CENTS, AMOUNT_CENTS - AMOUNT_CENTS // 100}
    assert Counter(payment["amount"] for payment in paid) == Counter(payout["netAmount"] for payout in payouts())
    # and the wallet paid each once
    assert customer.available_cents() == before_cents - PAYOUTS * AMOUNT_CENTS
    assert customer.balance()["inTransit"] == 0
