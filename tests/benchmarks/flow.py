"""Payouts from acceptance to completion: post them, and count the completed ones."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import requests_of
from tests.benchmarks.payload import BULK, bulk
from tests.benchmarks.storm import Load, curve_of, storm
from tests.benchmarks.system import System

FEEDERS = 8
"""Connections that post bulk requests."""
LOOK_SECONDS = 0.05
RATE_SECONDS = 0.5
"""The interval of a rate in the curves."""


class Flow(NamedTuple):
    """The result."""

    payouts: int
    seconds: float
    """From the first request to the last completion."""
    accepted_seconds: float
    """From the first request to the last response."""
    latency: Load
    """From acceptance to completion, for each payout."""
    seen: list[tuple[float, int, int]]
    """(Second, accepted, completed)."""

    @property
    def a_second(self) -> float:
        """Payouts per second, end to end."""
        return self.payouts / self.seconds

    def rates(self, column: int) -> list[tuple[float, float]]:
        """Return the curve of payouts accepted (1) or completed (2) per second."""
        points, last = [], self.seen[0]
        for one in self.seen[1:]:
            if one[0] - last[0] >= RATE_SECONDS:
                points.append((one[0], (one[column] - last[column]) / (one[0] - last[0])))
                last = one
        return points


def run(bench: Bench, system: System, payouts: int, urls: Sequence[str] = ()) -> Flow:
    """Post payouts in bulk requests, spread over the gateways, and wait for the last completion."""
    gateways = urls or [system.stack["gateway"]]
    templates = list(bulk(system).templates)
    each = payouts // BULK // len(gateways)
    seen: list[tuple[float, int, int]] = []
    with system.database() as database:
        accepted, completed = (system.count_by(database, name) for name in ("payouts", "payouts:completed"))
        [began] = database.execute("SELECT now()").fetchone() or [None]
        requests = [list(islice(requests_of(templates), each)) for _ in gateways]
        started = time.perf_counter()
        with ThreadPoolExecutor(len(gateways)) as pool:
            loads = [pool.submit(_feed, *one) for one in zip(gateways, requests, strict=True)]
            deadline = time.monotonic() + bench.size(600, 180)
            while True:
                now = time.perf_counter() - started
                counts = [system.count_by(database, name) for name in ("payouts", "payouts:completed")]
                seen.append((now, counts[0] - accepted, counts[1] - completed))
                if counts[1] - completed >= each * BULK * len(gateways):
                    break
                assert time.monotonic() < deadline, f"{counts[1] - completed} of {payouts} are completed"
                time.sleep(LOOK_SECONDS)
            fed = [load.result() for load in loads]
        assert not any(load.refused for load in fed), fed
        rows = database.execute(
            "SELECT extract(epoch FROM completed_at - requested_at)::float8 * 1000 FROM payouts "
            "WHERE wallet_id = %s AND requested_at >= %s AND completed_at IS NOT NULL",
            [system.wallet_id, began],
        ).fetchall()
    system.served_payouts += each * BULK * len(gateways)
    latency = Load("", now, len(rows), 0, curve_of(milliseconds for (milliseconds,) in rows))
    return Flow(each * BULK * len(gateways), now, max(load.seconds for load in fed), latency, seen)


def _feed(url: str, requests: Sequence[bytes]) -> Load:
    return storm(url, requests, min(FEEDERS, len(requests)))


class Trickle:
    """Bulk requests at an even pace, in a thread, until it is stopped."""

    def __init__(self, system: System, requests_a_second: float) -> None:
        self._url = system.stack["gateway"]
        self._requests = requests_of(list(bulk(system).templates))
        self._pause_seconds = 1 / requests_a_second
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trickle")
        self.sent = 0

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(due - time.monotonic(), 0)):
            load = storm(self._url, [next(self._requests)], 1)
            assert not load.refused
            self.sent += BULK
            due = max(due + self._pause_seconds, time.monotonic() - 1)
