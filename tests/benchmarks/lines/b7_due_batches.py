"""B7: delay of the release of 1,000 batches due in the same second, beside single payouts.

The lag of a batch is from the second that its customer named until its release is committed and seen by others.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_least, at_most
from tests.benchmarks.storm import Load, curve_of
from tests.benchmarks.system import System
from tests.support.batches import PATH, batch_body
from tests.support.polling import until

BATCHES, IN_SMALL = 1_000, 50
SINGLES_A_SECOND = 20
LOOK_SECONDS = 0.01


def measure(bench: Bench) -> None:
    """Batches of three payouts, due in the same second."""
    system, count = bench.system(), bench.size(BATCHES, IN_SMALL)
    customer, drivers = system.customer, system.drivers[:3]
    due_at = (datetime.now(UTC) + timedelta(seconds=5 + count // 30)).replace(microsecond=0)

    def create(_: int) -> None:
        customer.post(PATH, batch_body(drivers, scheduledFor=due_at.isoformat())).data  # noqa: B018

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(count)))
    assert datetime.now(UTC) < due_at - timedelta(seconds=1), "the machine was too slow to create them in time"
    over, answers = threading.Event(), list[float]()

    def flow() -> None:
        while not over.wait(1 / SINGLES_A_SECOND):
            started = time.monotonic()
            customer.pay(drivers[0], 1_000)
            answers.append((time.monotonic() - started) * 1000)

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        with bench.watched(system, "the second in which they are due"):
            lags = _lags(system, due_at, count)
        until(lambda: len(answers) > 20, "payouts flow")
    finally:
        over.set()
        flowing.join()
    ranked = sorted(lags)
    released = Load("", 0, count, 0, curve_of(lag * 1000 for lag in ranked))
    bench.distribution(f"{count:,} batches due at once: time until the release", released)
    single = Load("", 0, len(answers), 0, curve_of(answers))
    bench.add(f"{count:,} batches due in one second: last release", ranked[-1], "s", at_most(1))
    bench.add("the first release, after the time", ranked[0], "s", at_least(0), note="none too early")
    bench.add("the median release", ranked[len(ranked) // 2], "s")
    bench.add("single POSTs meanwhile, p99", single.percentile(99), "ms")
    system.until_idle()


def _lags(system: System, due_at: datetime, count: int) -> list[float]:
    """Return the delay of the release of each batch."""
    lags: list[float] = []
    with system.database() as database:
        deadline = due_at + timedelta(seconds=60)
        while len(lags) < count and datetime.now(UTC) < deadline:
            found = database.execute(
                "SELECT count(*) FROM batches WHERE status <> 'queued' AND scheduled_for = %s", [due_at]
            ).fetchone()
            [seen] = found or (0,)
            lags += [(datetime.now(UTC) - due_at).total_seconds()] * (seen - len(lags))
            time.sleep(LOOK_SECONDS)
    assert len(lags) == count, f"{count - len(lags)} are not released a minute later"
    return lags


LINE = Line("B7", "1,000 batches due in one second: last release", measure)
