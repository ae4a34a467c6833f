"""How many calls does a payday cost? Paystream takes 1,000 an hour; a hundred thousand payouts must need 200 at most.

Half of them come in batches of 10,000, half one hundred at a time over minutes, as an ERP sends them. The simulated
Paystream holds its published limit, and our processes the same: nothing is refused, for we stay below it.
"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance import ledger
from tests.acceptance.asking import until
from tests.acceptance.customer import Customer
from tests.acceptance.provider import Provider
from tests.acceptance.stack import Stack, running_stack

PAYOUTS = int(os.environ.get("OVNPAY_BENCH_PAYOUTS", "100000"))
BATCH = 10_000
BULK = 100
AMOUNT_CENTS = 1_000
CALLS_MOST = 200
STREAM_SECONDS = 60.0
"""How long the bulk requests are spread over."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system of its own, with Paystream's published limit on both sides."""
    limits = {"OVNPAY_PAYSTREAM_REQUESTS_PER_HOUR": "1000", "PAYSTREAM_SIM_REQUESTS_PER_HOUR": "1000"}
    patience = {"OVNPAY_POLL_AFTER_STANDARD_SECONDS": "86400"}  # as in production: the webhook comes first
    with running_stack(tmp_path_factory.mktemp("bench"), **limits, **patience) as running:
        yield running


@pytest.mark.timeout(1800)
def test_a_payday_costs_few_calls(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    # Given drivers and the money for all
    customer, paystream = Customer(stack["gateway"], stack["sandbox_key"]), Provider(stack["paystream"])
    customer.fund(PAYOUTS * AMOUNT_CENTS)
    drivers = [customer.verified_driver()["id"] for _ in range(10)]
    before, started = _calls(paystream), time.monotonic()
    # When half of the payouts come in batches, and half in bulk requests, spread over a minute
    batches = [_hand_in(customer, drivers, number) for number in range(PAYOUTS // 2 // BATCH)]
    for batch_id in batches:
        assert customer.post(f"/api/v1/batches/{batch_id}/release", {}).status == 200
    requests = PAYOUTS // 2 // BULK
    begun = time.monotonic()

    def bulk(number: int) -> None:
        wait = begun + number * STREAM_SECONDS / requests - time.monotonic()
        if wait > 0:
            threading.Event().wait(wait)
        payouts = [{"driverId": drivers[number % 10], "amount": AMOUNT_CENTS}] * BULK
        assert customer.post("/api/v1/payouts/bulk", {"payouts": payouts}).data["failed"] == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bulk, range(requests)))
    # Then all are paid
    until(lambda: _completed(customer) >= PAYOUTS, "all are completed", 1500, pause_seconds=1)
    seconds = time.monotonic() - started
    after = _calls(paystream)
    made = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    with capsys.disabled():
        print(f"\n{PAYOUTS:,} payouts ({len(batches)} batches of {BATCH:,}, {requests} bulk requests of {BULK} over")
        print(f"{STREAM_SECONDS:.0f} s): completed after {seconds:.0f} s with {sum(made.values())} calls: {made}")
    # and the calls were few, each payout in one of them, none refused for being one too many
    assert sum(made.values()) <= CALLS_MOST
    assert paystream.stats()["payments"]["test"] == {"completed": PAYOUTS}
    ledger.prove(stack["database_url"])


def _hand_in(customer: Customer, drivers: list[str], number: int) -> str:
    payouts = [{"driverId": drivers[place % 10], "amount": AMOUNT_CENTS} for place in range(BATCH)]
    return str(customer.post("/api/v1/batches", {"name": f"Payday {number}", "payouts": payouts}).data["id"])


def _completed(customer: Customer) -> int:
    return int(customer.get("/api/v1/payouts", status="completed", pageSize=1).data["total"])


def _calls(paystream: Provider) -> dict[str, int]:
    """How often each endpoint was called, whatever it answered."""
    return {endpoint: sum(by.values()) for endpoint, by in paystream.stats()["calls"].items()}
