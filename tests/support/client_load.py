"""Load of correct clients with keep-alive connections.

RFC 9112 lets a server close an idle connection at any time. A client whose connection was closed before any response
repeats once what is safe to repeat: reads, and POSTs with an Idempotency-Key. Any other failure is a client error.
"""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.support import ledger
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator

AMOUNT_CENTS = 1_000
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass
class ClientLoad:
    """What the clients have seen so far."""

    scenario: str
    driver_id: str
    requests: int = 0
    retried: int = 0
    """Requests repeated on a new connection."""
    errors: list[str] = field(default_factory=list)
    """Failures that a correct client can't handle."""
    refused: Counter[int] = field(default_factory=Counter)
    """Responses 503 with a `Retry-After`, which are repeated with the same key until they succeed; by status."""
    payout_ids: dict[int, str] = field(default_factory=dict)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    """When each request ended, and its duration."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def summary(self) -> str:
        """Return one line."""
        return (
            f"{self.requests} requests, {len(self.errors)} failures, {self.retried} repeated on a new "
            f"connection, {sum(self.refused.values())} answered 503, {len(self.payout_ids)} payouts"
        )

    def slowest(self, share: float = 0.99) -> float:
        """Return the duration that this share of the requests did not exceed."""
        took = sorted(seconds for _, seconds in self.seconds)
        return took[min(int(len(took) * share), len(took) - 1)]

    def assert_all_completed_once(
        self, customer: Customer, provider: Simulator, database_url: str, seconds: float = 60
    ) -> None:
        """Assert that the simulator completed every payout of a response exactly once, and no other payment."""
        wanted = set(self.payout_ids.values())
        assert len(wanted) == len(self.payout_ids)

        def completed() -> bool:
            open_ones = [
                item["id"]
                for status in ("validated", "queued", "processing", "failed")
                for item in customer.items("/api/v1/payouts", status=status)
            ]
            return not wanted.intersection(open_ones)

        until(completed, f"all payouts of {self.scenario} end", seconds, pause_seconds=0.5)
        paid = Counter(
            str((payment["metadata"] or {}).get("payoutId") or payment["description"].partition(" ")[0])
            for payment in provider.payments_described(f"<{self.scenario} ")
        )
        assert paid == Counter(wanted)
        ledger.assert_ledger_consistent(database_url)


class Client:
    """A keep-alive connection."""

    def __init__(self, url: str, headers: dict[str, str], load: ClientLoad) -> None:
        address = urlsplit(url)
        assert address.hostname
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=40)
        self._headers, self._load = headers, load

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any, Any]:
        """Send a request; return status, headers and body. Status 0 is a failure, and recorded."""
        started = time.monotonic()
        with_key = {"Idempotency-Key": key} if key else {}
        text = None if body is None else json.dumps(body).encode()
        for again in (False, True):
            was_open = self._connection.sock is not None
            try:
                self._connection.request(method, path, text, self._headers | with_key)
                response = self._connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if isinstance(error, CLOSED) and was_open and not again:
                    self._load.retried += 1
                    continue
                with self._load.lock:
                    self._load.errors.append(f"{method} {path}: {error!r}")
                return 0, {}, None
            with self._load.lock:
                self._load.requests += 1
                self._load.seconds.append((time.monotonic(), time.monotonic() - started))
            return response.status, response.headers, answer
        raise AssertionError

    def close(self) -> None:
        self._connection.close()


def _pay(client: Client, load: ClientLoad, number: int, stop: threading.Event) -> None:
    """Make one payout and two reads. A 503 is repeated after its Retry-After with the same key."""
    body = {
        "driverId": load.driver_id,
        "amount": AMOUNT_CENTS,
        "urgency": "standard" if number % 4 else "instant",
        "description": f"<{load.scenario} {number}>",
    }
    while True:
        status, headers, answer = client.ask("POST", "/api/v1/payouts", body, f"{load.scenario}/{number}")
        if status == 503 and "Retry-After" in headers:
            with load.lock:
                load.refused[status] += 1
            time.sleep(min(float(headers["Retry-After"]), 0.3))
            continue
        break
    if status == 200:
        load.payout_ids[number] = answer["data"]["id"]
    elif status:
        load.errors.append(f"POST: {status} {answer}")
    for path in ("/api/v1/balance", "/api/v1/payouts?pageSize=1"):
        status, headers, answer = client.ask("GET", path)
        if status == 503 and "Retry-After" in headers:
            with load.lock:
                load.refused[status] += 1
        elif status not in (0, 200):
            load.errors.append(f"GET: {status} {answer}")


@contextmanager
def running_load(
    urls: Sequence[str],
    customer: Customer,
    driver_id: str,
    scenario: str,
    *,
    clients: int = 4,
    pause_seconds: float = 0.05,
) -> Iterator[ClientLoad]:
    """Run clients that pay the driver through these gateways while the block runs.

    One more client for each gateway is idle for longer than a draining gateway waits.
    """
    load, numbers, stop = ClientLoad(scenario, driver_id), itertools.count(), threading.Event()

    def busy(url: str) -> None:
        client = Client(url, customer.headers, load)
        while not stop.wait(pause_seconds):
            _pay(client, load, next(numbers), stop)
        client.close()

    def seldom(url: str) -> None:
        client = Client(url, customer.headers, load)
        while not stop.wait(2.3):
            client.ask("GET", "/api/v1/balance")
        client.close()

    threads = [threading.Thread(target=busy, args=(urls[place % len(urls)],)) for place in range(clients)]
    threads += [threading.Thread(target=seldom, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()
