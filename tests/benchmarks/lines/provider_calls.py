"""CALLS: provider calls per payday. The limit is 1,000 per hour; 100,000 payouts must need at most 200.

Half of them come in batches of 10,000, half one hundred at a time over minutes, as an ERP sends them. The simulated
Paystream holds its published limit, and our processes the same: nothing is refused, for we stay below it.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_most
from tests.support import ledger
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator

PAYOUTS, IN_SMALL = 100_000, 4_000
BULK = 100
AMOUNT_CENTS = 1_000
CALLS_MOST = 200


def measure(bench: Bench) -> None:
    """Measured with the provider's published limit on both sides."""
    system = bench.system(OVNPAY_PAYSTREAM_REQUESTS_PER_HOUR="1000", PAYSTREAM_SIM_REQUESTS_PER_HOUR="1000")
    payouts, size = bench.size(PAYOUTS, IN_SMALL), bench.size(10_000, 1_000)
    stream_seconds = bench.size(60.0, 5.0)
    customer, paystream = system.customer, system.provider
    drivers = system.drivers[:10]
    before, started = _calls(paystream), time.monotonic()
    batches = [_hand_in(customer, drivers, number, size) for number in range(payouts // 2 // size)]
    for batch_id in batches:
        assert customer.post(f"/api/v1/batches/{batch_id}/release", {}).status == 200
    requests = payouts // 2 // BULK
    begun = time.monotonic()

    def bulk(number: int) -> None:
        wait = begun + number * stream_seconds / requests - time.monotonic()
        if wait > 0:
            threading.Event().wait(wait)
        items = [{"driverId": drivers[number % 10], "amount": AMOUNT_CENTS}] * BULK
        assert customer.post("/api/v1/payouts/bulk", {"payouts": items}).data["failed"] == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bulk, range(requests)))
    until(lambda: system.count() >= payouts, "all are completed", 1500, pause_seconds=0.5)
    seconds = time.monotonic() - started
    after = _calls(paystream)
    made = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    assert paystream.stats()["payments"]["test"] == {"completed": payouts}
    ledger.assert_ledger_consistent(system.stack["database_url"])
    bench.tell(
        f"{len(batches)} batches of {size:,}, {requests} bulk requests of {BULK} over {stream_seconds:.0f} s: {made}"
    )
    note = f"completed after {seconds:.0f} s"
    bench.add(f"calls to the provider for {payouts:,} payouts", sum(made.values()), "", at_most(CALLS_MOST), note=note)


def _hand_in(customer: Customer, drivers: list[str], number: int, size: int) -> str:
    payouts = [{"driverId": drivers[place % 10], "amount": AMOUNT_CENTS} for place in range(size)]
    return str(customer.post("/api/v1/batches", {"name": f"Payday {number}", "payouts": payouts}).data["id"])


def _calls(paystream: Simulator) -> dict[str, int]:
    """Return the number of calls of each endpoint, with any response."""
    return {endpoint: sum(by.values()) for endpoint, by in paystream.stats()["calls"].items()}


LINE = Line("CALLS", "calls to the provider for a payday", measure)
