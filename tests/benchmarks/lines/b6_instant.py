"""B6: an instant payout, from its POST until the provider has it: idle, and beside a batch of 10,000.

The provider's record says when a payment came, to the millisecond it began in; half of one is added.
"""

import threading
import time
import uuid
from datetime import datetime

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.lines import b5_batch
from tests.benchmarks.report import at_most
from tests.benchmarks.storm import Load, curve_of
from tests.benchmarks.system import AMOUNT_CENTS, System
from tests.support.http_client import call
from tests.support.polling import until

BESIDE_A_SECOND = 20
PAUSE_SECONDS = 0.05


def measure(bench: Bench) -> None:
    """One after the other, each on a new connection, as of an occasional client."""
    system = bench.system()
    for _ in range(5):
        _pay(system)
    began = _now_cursor()
    sent = [_pay(system, pause_seconds=PAUSE_SECONDS) for _ in range(bench.size(300, 20))]
    idle = Load("", 0, len(sent), 0, curve_of(_each(system, dict(sent), began)))
    bench.distribution("idle", idle)
    bench.add("instant payout, idle: POST → the provider has it, p50", idle.percentile(50), "ms", at_most(15))
    bench.add("the same, p99", idle.percentile(99), "ms", at_most(50))
    beside = _while_batches_are_paid(bench, system)
    busy = Load("", 0, len(beside), 0, curve_of(beside))
    bench.distribution("while a batch of 10,000 is paid", busy)
    bench.add("the same while B5 runs, p50", busy.percentile(50), "ms")
    bench.add("the same while B5 runs, p99", busy.percentile(99), "ms", at_most(200))


def _while_batches_are_paid(bench: Bench, system: System) -> list[float]:
    taken: list[float] = []
    for _ in range(bench.size(3, 1)):
        batch_id = b5_batch.hand_in(bench, system)
        began, sent, over = _now_cursor(), list[tuple[str, float]](), threading.Event()

        def flow(sent: list[tuple[str, float]] = sent, over: threading.Event = over) -> None:
            while not over.wait(1 / BESIDE_A_SECOND):
                sent.append(_pay(system))

        beside = threading.Thread(target=flow)
        beside.start()
        b5_batch.released(system, batch_id)
        over.set()
        beside.join()
        taken += _each(system, dict(sent), began)
    return taken


def _pay(system: System, pause_seconds: float = 0.0) -> tuple[str, float]:
    """Request an instant payout; return its description and the time of the request."""
    if pause_seconds:
        threading.Event().wait(pause_seconds)
    mark = f"instant {uuid.uuid4().hex}"
    body = {"driverId": system.drivers[0], "amount": AMOUNT_CENTS, "description": mark}
    started = time.time()
    answer = system.customer.post("/api/v1/payouts/instant", body, uuid.uuid4().hex)
    assert answer.status == 200, answer
    return mark, started


def _each(system: System, sent: dict[str, float], since: str) -> list[float]:
    """Return the milliseconds from each request to the provider."""
    came: dict[str, float] = {}

    def all_came() -> bool:
        cursor = since
        while cursor is not None:
            page = call(system.stack["paystream"], "GET", f"/control/record?mode=test&limit=5000&cursor={cursor}").body
            for payment in page["payments"]:
                if payment["description"] in sent:
                    came[payment["description"]] = datetime.fromisoformat(payment["createdAt"]).timestamp() + 0.0005
            cursor = page["nextCursor"]
        return len(came) == len(sent)

    until(all_came, "the provider has all instant payouts", 60)
    return [(came[mark] - started) * 1000 for mark, started in sent.items()]


def _now_cursor() -> str:
    """Return an id before all later ones in the order of the provider's ids."""
    return f"pay_{time.time_ns() // 1000:013x}000000"


LINE = Line("B6", "an instant payout: POST → the provider has it", measure)
