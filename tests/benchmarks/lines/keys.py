"""KEYS: over two gateways, delay of a revocation, exactness of a limit, and timing of rejections."""

import http.client
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from shared.identity.api_keys import generate_key, hash_token
from shared.schema.organizations import Mode
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_least, at_most
from tests.benchmarks.system import System
from tests.support.customer import Customer
from tests.support.http_client import call

PER_MINUTE = 100
BURST = 2 * PER_MINUTE
CLIENTS = 64
SECONDS_MOST = 2.0
"""The goal: every gateway rejects a revoked key within this time."""
PEPPER = "a pepper that this benchmark knows"


def measure(bench: Bench) -> None:
    """Measure two gateways on the same databases, with the limit of customers."""
    system = bench.system(OVNPAY_RATE_LIMIT_PER_MINUTE=str(PER_MINUTE), OVNPAY_KEY_PEPPER=PEPPER)
    url = system.stack["gateway"]
    signed_in = Customer(url, "").post("/api/v1/auth/login", system.stack["owner"])
    owner = Customer(url, signed_in.data["token"])
    with system.another("gateway") as other:
        _revoked(bench, owner, [url, other])
        _hammered(bench, owner, [url, other])
    _refusals(bench, system)


def new_key(owner: Customer) -> tuple[str, str]:
    """Create a sandbox key; return its id and text."""
    body = {"name": f"Bench {uuid.uuid4().hex[:8]}", "mode": "sandbox", "scopes": ["balance:read"]}
    made = owner.post("/api/v1/developer/keys", body).body
    return made["id"], made["key"]


def _revoked(bench: Bench, owner: Customer, gateways: Sequence[str]) -> None:
    """Measure the time from a revocation until both gateways reject the key."""
    taken: dict[str, list[float]] = {url: [] for url in gateways}
    for _ in range(bench.size(12, 3)):
        key_id, key = new_key(owner)
        customers = [Customer(url, key) for url in gateways]
        for customer in customers:
            assert customer.get("/api/v1/balance").status == 200
        started = time.monotonic()
        assert call(gateways[0], "DELETE", f"/api/v1/developer/keys/{key_id}", headers=owner.headers).status == 200
        for customer in customers:
            taken[customer.url].append(_accepted_until(customer, started) - started)
        assert [customer.get("/api/v1/balance").status for customer in customers] == [401, 401]
    for name, url in zip(("there", "at another gateway"), gateways, strict=True):
        note = f"median {statistics.median(taken[url]):.2f} s"
        bench.add(f"a revoked key was last accepted {name}", max(taken[url]), "s", at_most(SECONDS_MOST), note=note)


def _accepted_until(customer: Customer, revoked_at: float) -> float:
    """Return the time of the last request that was not rejected."""
    last = revoked_at
    while True:
        asked_at = time.monotonic()
        if customer.get("/api/v1/balance").status == 401:
            return last
        assert asked_at < revoked_at + 10, "it is not refused"
        last = asked_at
        time.sleep(0.02)


def _hammered(bench: Bench, owner: Customer, gateways: Sequence[str]) -> None:
    """Concurrent clients of one key at both gateways get its limit and no more."""
    _, key = new_key(owner)
    counts: dict[int, int] = {}
    lock = threading.Lock()
    started, seconds = time.monotonic(), bench.size(6.0, 3.0)

    def hammer(number: int) -> None:
        address = urlsplit(gateways[number % len(gateways)])
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        while time.monotonic() - started < seconds:
            connection.request("GET", "/api/v1/balance", headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            answer.read()
            with lock:
                counts[answer.status] = counts.get(answer.status, 0) + 1
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(hammer, range(CLIENTS)))
    most = BURST + PER_MINUTE / 60 * (time.monotonic() - started)
    assert set(counts) == {200, 429}, counts
    note = f"{BURST} at once and {PER_MINUTE} a minute; {counts[429]} refused"
    bench.add(f"{CLIENTS} clients with one key: answered", counts[200], "", at_most(round(most) + 1), note=note)
    bench.add("the same, at least the burst", counts[200], "", at_least(BURST))


def _refusals(bench: Bench, system: System) -> None:
    """Response times of revoked and unknown keys differ only by noise."""
    count = bench.size(300, 30)
    expired, revoked = ([generate_key(Mode.SANDBOX) for _ in range(count)] for _ in range(2))
    with system.database() as database, database.cursor() as cursor:
        for texts, column, moment in (
            (expired, "expires_at", "now() - interval '1 day'"),
            (revoked, "revoked_at", "now()"),
        ):
            cursor.executemany(
                f"""
                INSERT INTO api_keys (id, wallet_id, created_by, name, prefix, key_hash, scopes, approval_status,
                                      created_at, {column})
                SELECT uuidv7(), wallet_id, created_by, 'Bench', prefix, %s, scopes, 'approved', now(), {moment}
                FROM api_keys WHERE prefix = 'ovnp_sbox_' ORDER BY id LIMIT 1
                """,
                [[hash_token(text, PEPPER)] for text in texts],
            )
    address = urlsplit(system.stack["gateway"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    kinds = {
        "malformed": lambda _: "ovnp_sbox_" + "x" * 49,
        "unknown": lambda _: generate_key(Mode.SANDBOX),
        "expired": lambda number: expired[number],
        "revoked": lambda number: revoked[number],
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(count):
        for kind, key in kinds.items():
            headers = {"Authorization": f"Bearer {key(number)}"}  # type: ignore[no-untyped-call]
            begun = time.perf_counter()
            connection.request("GET", "/api/v1/balance", headers=headers)
            answer = connection.getresponse()
            answer.read()
            taken[kind].append((time.perf_counter() - begun) * 1000)
            assert answer.status == 401
    connection.close()
    medians = {kind: statistics.median(times) for kind, times in taken.items()}
    bench.tell("refusing takes (median) " + ", ".join(f"{kind} {median:.2f} ms" for kind, median in medians.items()))
    once = max(medians["expired"], medians["revoked"]) / medians["unknown"]
    bench.add("refusing a key that was one, beside one that never was", once, "times", at_most(2))


LINE = Line("KEYS", "keys: revoked everywhere, limited exactly, refused alike", measure)
