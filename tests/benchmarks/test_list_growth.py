"""Do lists stay fast? The same requests with 10,000 and with 2,000,000 payouts in one wallet, in one run."""

import http.client
import os
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest

from shared.ids import DRIVER, show
from tests.acceptance.customer import Customer
from tests.acceptance.stack import Stack, running_stack

SMALL = int(os.environ.get("OVNPAY_BENCH_SMALL", "10000"))
LARGE = int(os.environ.get("OVNPAY_BENCH_LARGE", "2000000"))
DRIVERS = 1_000
REQUESTS = 300
RATIO_MOST = 2.0
"""The promise: p99 grows by less than this; a scan or a count of everything would make it hundreds."""

# Ended payouts, the older the lower their ids, with the transfer that each one's line of the statement is.
_FILL = """
    with wallet as (
        select wallets.id from wallets join organizations on organizations.id = organization_id where mode = 'sandbox'
    ), made as (
        insert into payouts (id, wallet_id, driver_id, load_id, amount_cents, fee_cents, rail, status, reserved,
                             sequence, attempt, requested_at, updated_at, completed_at)
        select uuidv7(-(%(last)s - n) * interval '10 ms'), wallet.id, drivers.id, 'L-' || n, 45000, 250, 'standard',
               case when n %% 50 = 0 then 'failed' when n %% 997 = 0 then 'returned' else 'completed' end,
               false, 4, 1, now(), now(), now()
          from wallet, generate_series(%(first)s::bigint, %(last)s) n
          join drivers on drivers.ovn_driver_id = 'BENCH-' || n %% %(drivers)s
        returning id, wallet_id
    )
    insert into transfers (id, wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
                           available_after_cents, created_at)
    select gen_random_uuid(), wallet_id, 'available', 'in_transit', 45000, 'reserve', id, 1, 0, now()
      from made order by id
"""
_COUNT = """
    update list_counts set count = found.count from (
        select wallet_id, 'payouts' as name, count(*) from payouts group by wallet_id
        union all select wallet_id, 'payouts:' || status, count(*) from payouts group by wallet_id, status
        union all select wallet_id, 'transfers:' || kind, count(*) from transfers group by wallet_id, kind
    ) found where list_counts.wallet_id = found.wallet_id and list_counts.name = found.name;
    update drivers set payout_count = found.count from (
        select driver_id, count(*) from payouts group by driver_id
    ) found where drivers.id = driver_id;
"""
_DRIVERS = """
    insert into drivers (id, wallet_id, ovn_driver_id, name, email, status, kyc_status, recipient_id, created_at,
                         updated_at)
    select uuidv7(), wallets.id, 'BENCH-' || n, 'Driver ' || n, 'driver@bench.example', 'active', 'verified',
           'rec_b' || n, now(), now()
      from wallets, generate_series(0, %(drivers)s - 1) n where mode = 'sandbox'
"""


class Latency(NamedTuple):
    """Of one kind of request, in milliseconds."""

    p50: float
    p99: float


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system of its own."""
    with running_stack(tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.mark.timeout(3600)
def test_lists_stay_fast(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(stack["database_url"], autocommit=True) as database:
        database.execute("set statement_timeout = 0")
        database.execute(_DRIVERS, {"drivers": DRIVERS})
        _fill(database, 1, SMALL)
        small = _measure(stack, database)
        started = time.monotonic()
        for first in range(SMALL + 1, LARGE + 1, 100_000):
            _fill(database, first, min(first + 99_999, LARGE))
        filled_seconds = time.monotonic() - started
        large = _measure(stack, database)
    lines = [f"{'GET':58} {'p50':>8} {'p99':>8} {'p50':>9} {'p99':>8}   p99 ratio"]
    for path, before in small.items():
        after = large[path]
        lines.append(
            f"{path:58} {before.p50:6.1f}ms {before.p99:6.1f}ms {after.p50:7.1f}ms {after.p99:6.1f}ms   "
            f"{after.p99 / before.p99:.2f}"
        )
    with capsys.disabled():
        print(f"\n{SMALL:,} payouts, then {LARGE:,} (filled in {filled_seconds:.0f} s); {REQUESTS} requests each")
        print(*lines, sep="\n")
    grown = {path: large[path].p99 / small[path].p99 for path in small}
    assert {path: ratio for path, ratio in grown.items() if ratio > RATIO_MOST} == {}


def _fill(database: psycopg.Connection, first: int, last: int) -> None:
    database.execute(_FILL, {"first": first, "last": last, "drivers": DRIVERS})


def _measure(stack: Stack, database: psycopg.Connection) -> dict[str, Latency]:
    """The latencies of each kind of request, asked in turn, so that a slow moment of the machine hits all alike."""
    database.execute(_COUNT)
    database.execute("vacuum analyze")
    row = database.execute("select id from drivers where ovn_driver_id = 'BENCH-7'").fetchone()
    assert row is not None
    driver_id = show(DRIVER, row[0])
    customer = Customer(stack["gateway"], stack["sandbox_key"])
    some = customer.get("/api/v1/payouts", page=3).data
    asked = {
        "/payouts": "/payouts",
        "/payouts?pageSize=100": "/payouts?pageSize=100",
        "/payouts?page=100": "/payouts?page=100",
        "/payouts?cursor=…": f"/payouts?cursor={some['nextCursor']}",
        "/payouts?status=completed": "/payouts?status=completed",
        "/payouts?status=failed": "/payouts?status=failed",
        "/payouts?status=queued": "/payouts?status=queued",
        "/payouts?driverId=…": f"/payouts?driverId={driver_id}",
        "/payouts?driverId=…&status=failed": f"/payouts?driverId={driver_id}&status=failed",
        "/payouts/:id": f"/payouts/{some['items'][-1]['id']}",
        "/drivers": "/drivers",
        "/drivers?status=active": "/drivers?status=active",
        "/drivers/:id": f"/drivers/{driver_id}",
        "/drivers/:id/payouts": f"/drivers/{driver_id}/payouts",
        "/funding/transactions": "/funding/transactions",
        "/funding/transactions?type=debit": "/funding/transactions?type=debit",
        "/funding/transactions?type=return": "/funding/transactions?type=return",
        "/balance": "/balance",
    }
    address = urlsplit(stack["gateway"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(REQUESTS + 10):
        for name, path in asked.items():
            started = time.perf_counter()
            connection.request("GET", f"/api/v1{path}", headers=customer.headers)
            answer = connection.getresponse()
            body = answer.read()
            taken[name].append((time.perf_counter() - started) * 1000)
            assert answer.status == 200, body
    connection.close()
    ranked = {name: sorted(times[10:]) for name, times in taken.items()}
    return {name: Latency(times[len(times) // 2], times[int(len(times) * 0.99)]) for name, times in ranked.items()}
