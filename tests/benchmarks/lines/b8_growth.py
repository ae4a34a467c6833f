"""B8: latencies with 10,000 and with 5,000,000 payouts in one wallet."""

import http.client
import json
import time
import uuid
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg

from shared.controls.invariants import INVARIANTS
from shared.platform.ids import DRIVER, public_id
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_most
from tests.benchmarks.storm import Load, curve_of
from tests.benchmarks.system import AMOUNT_CENTS, System
from tests.support.polling import until

SMALL, LARGE = 10_000, 5_000_000
DRIVERS = 1_000
RATIO_MOST = 1.3
PROMISED = ("POST /payouts", "GET /payouts/:id", "GET /payouts", "GET /payouts?driverId=…", "GET /balance")
"""Requests whose p99 has a goal; the others are only reported."""
FOLD_SECONDS_MOST = 3600.0

# Ended payouts, older ones with lower ids, each with the transfer of its statement line.
_FILL = """
    with wallet as (
        select wallets.id from wallets join organizations on organizations.id = organization_id where mode = 'sandbox'
    ), made as (
        insert into payouts (id, wallet_id, driver_id, load_id, amount_cents, fee_cents, rail, status, reserved,
                             sequence, attempt, requested_at, updated_at, completed_at)
        select uuidv7(-(%(last)s - n) * interval '10 ms'), wallet.id, drivers.id, 'G-' || n, 45000, 250, 'standard',
               case when n %% 50 = 0 then 'failed' when n %% 997 = 0 then 'returned' else 'completed' end,
               false, 4, 1, now(), now(), now()
          from wallet, generate_series(%(first)s::bigint, %(last)s) n
          join drivers on drivers.ovn_driver_id = 'GROWN-' || n %% %(drivers)s
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
    select uuidv7(), wallets.id, 'GROWN-' || n, 'Driver ' || n, 'driver@bench.example', 'active', 'verified',
           'rec_b' || n, now(), now()
      from wallets, generate_series(0, %(drivers)s - 1) n where mode = 'sandbox'
"""


# The inserted rows have no history and no payments: an invariant check would freeze the wallet.
_SKIP_CHECKS = """
    insert into invariant_proofs (name, next_action_at)
    select name, now() + interval '1 day' from unnest(%(names)s::text[]) name
    on conflict (name) do update set next_action_at = excluded.next_action_at
"""

_BEHIND = """
    select (select max(position) from transfers where wallet_id = %(wallet)s)
           > coalesce((select position from analytics_folds where wallet_id = %(wallet)s), 0)
"""


class Pair(NamedTuple):
    """The latencies of a kind of request, with few and with many payouts."""

    small: Load
    large: Load

    @property
    def ratio(self) -> float:
        """The ratio of the p99."""
        return self.large.percentile(99) / self.small.percentile(99)


def measure(bench: Bench) -> None:
    """Measure a system of its own, whose wallet is filled with ended payouts."""
    system = bench.system(fresh=True)
    small, large, requests = bench.size(SMALL, 1_000), bench.size(LARGE, 20_000), bench.size(1_000, 30)
    _ = system.drivers
    with system.database() as database:
        database.execute(_SKIP_CHECKS, {"names": [invariant.name for invariant in INVARIANTS]})
        database.execute(_DRIVERS, {"drivers": DRIVERS})
        _fill(database, 1, small)
        before = _measure(bench, system, database, requests)
        started = time.monotonic()
        for first in range(small + 1, large + 1, 100_000):
            _fill(database, first, min(first + 99_999, large))
            bench.say(f"{min(first + 99_999, large):,} payouts are there")
        bench.tell(f"{large:,} payouts are there after {time.monotonic() - started:.0f} s")
        after = _measure(bench, system, database, requests)
    pairs = {name: Pair(before[name], after[name]) for name in before}
    for name in (*PROMISED, *(name for name in pairs if name not in PROMISED)):
        pair = pairs[name]
        goal = at_most(RATIO_MOST) if name in PROMISED else None
        times = f"p99 {pair.small.percentile(99):.1f} → {pair.large.percentile(99):.1f} ms"
        bench.add(f"{name}, {small:,} → {large:,} payouts", pair.ratio, "times", goal, note=times)
        if goal:
            bench.distribution(f"{name}, {large:,}", pair.large)
    bench.close()


def _fill(database: psycopg.Connection, first: int, last: int) -> None:
    database.execute(_FILL, {"first": first, "last": last, "drivers": DRIVERS})


def _measure(bench: Bench, system: System, database: psycopg.Connection[Any], requests: int) -> dict[str, Load]:
    """Return the latencies of each kind of request. Kinds take turns: slow moments of the machine hit all of them."""
    database.execute(_COUNT)
    database.execute("vacuum analyze")
    database.execute("checkpoint")
    bench.say("waits until the analytics have added all of it up")
    values = {"wallet": system.wallet_id}
    until(
        lambda: not (database.execute(_BEHIND, values).fetchone() or [True])[0],
        "all is folded",
        FOLD_SECONDS_MOST,
        1,
    )
    system.until_idle()
    bench.say(f"{requests} requests of each kind")
    row = database.execute("select id from drivers where ovn_driver_id = 'GROWN-7'").fetchone()
    assert row is not None
    asked = _asked(system, public_id(DRIVER, row[0]))
    address = urlsplit(system.stack["gateway"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(requests + 10):
        for name, (path, body) in asked.items():
            headers = system.customer.headers | ({"Idempotency-Key": uuid.uuid4().hex} if body else {})
            started = time.perf_counter()
            connection.request("POST" if body else "GET", f"/api/v1{path}", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            taken[name].append((time.perf_counter() - started) * 1000)
            assert answer.status == 200, said
    connection.close()
    return {name: Load("", 0, requests, 0, curve_of(times[10:])) for name, times in taken.items()}


def _asked(system: System, driver_id: str) -> dict[str, tuple[str, str | None]]:
    """Return path and body of each kind of request."""
    some = system.customer.get("/api/v1/payouts", page=3).data
    payout = json.dumps({"driverId": system.drivers[0], "amount": AMOUNT_CENTS, "description": "Growth"})
    paths = {
        "/payouts": "/payouts",
        "/payouts/:id": f"/payouts/{some['items'][-1]['id']}",
        "/payouts?driverId=…": f"/payouts?driverId={driver_id}",
        "/balance": "/balance",
        "/payouts?pageSize=100": "/payouts?pageSize=100",
        "/payouts?page=100": "/payouts?page=100",
        "/payouts?cursor=…": f"/payouts?cursor={some['nextCursor']}",
        "/payouts?status=completed": "/payouts?status=completed",
        "/payouts?status=failed": "/payouts?status=failed",
        "/payouts?status=queued": "/payouts?status=queued",
        "/payouts?driverId=…&status=failed": f"/payouts?driverId={driver_id}&status=failed",
        "/drivers": "/drivers",
        "/drivers?status=active": "/drivers?status=active",
        "/drivers/:id": f"/drivers/{driver_id}",
        "/drivers/:id/payouts": f"/drivers/{driver_id}/payouts",
        "/funding/transactions": "/funding/transactions",
        "/funding/transactions?type=debit": "/funding/transactions?type=debit",
        "/funding/transactions?type=return": "/funding/transactions?type=return",
    }
    return {"POST /payouts": ("/payouts", payout)} | {f"GET {name}": (path, None) for name, path in paths.items()}


LINE = Line("B8", "growth: the same requests at 10,000 and at 5,000,000 payouts", measure)
