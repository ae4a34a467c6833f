"""ANALYTICS: response times of analytics over 2,000,000 payouts, and the time to fold them."""

import http.client
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg

from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_most
from tests.benchmarks.storm import Load, curve_of
from tests.benchmarks.system import System

UNFOLDED = 2_000
"""The most recent payouts, whose transfers are not folded: some seconds of a busy wallet."""
PROMISED_MS = 100.0
"""The goal for the p50."""

# A year: every 10th payout is instant, the rest completes two or three days later; every 50th fails, every 997th is
# returned. Inserted in the order of the ledger.
_DRIVERS = """
    insert into drivers (id, wallet_id, ovn_driver_id, name, email, status, kyc_status, recipient_id, created_at,
                         updated_at)
    select uuidv7(), %(wallet)s, 'BENCH-' || n, 'Driver ' || n, 'driver@bench.example', 'active', 'verified',
           'rec_b' || n, now(), now()
      from generate_series(0, %(drivers)s - 1) n
"""
_PAYOUTS = """
    insert into payouts (id, wallet_id, driver_id, load_id, amount_cents, fee_cents, rail, status, reserved, sequence,
                         attempt, failure_code, requested_at, updated_at, completed_at)
    select uuidv7(begun - now()), %(wallet)s, drivers.id, 'L-' || n, 30000 + n %% 20000, 250,
           case when n %% 10 = 0 then 'instant' else 'standard' end,
           case when n %% 50 = 0 then 'failed' when n %% 997 = 0 then 'returned' else 'completed' end, false, 4, 1,
           case when n %% 50 = 0 then 'BANK_REJECTED' || n %% 7 end, begun, ended, ended
      from generate_series(%(first)s::bigint, %(last)s) n
     cross join lateral (select %(begin)s::timestamptz + n * %(step)s as begun) t
     cross join lateral (select begun + case when n %% 10 = 0 then interval '20 seconds' + n %% 40 * interval '1 second'
                                             else interval '2 days' + n %% 86400 * interval '1 second' end as ended) e
      join drivers on drivers.wallet_id = %(wallet)s
                  and ovn_driver_id = 'BENCH-' || (n * 7919 + n / 1000) %% %(drivers)s
"""
_TRANSFERS = """
    insert into transfers (id, wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
                           available_after_cents, created_at)
    select gen_random_uuid(), %(wallet)s, source, target, cents, kind, id, 1, 0, at
      from payouts cross join lateral (values
           ('reserve', 'available', 'in_transit', amount_cents, requested_at, true),
           ('settle', 'in_transit', 'external', amount_cents - fee_cents, completed_at, status <> 'failed'),
           ('fee', 'in_transit', 'fees', fee_cents, completed_at, status <> 'failed'),
           ('release', 'in_transit', 'available', amount_cents, completed_at, status = 'failed'),
           ('return', 'external', 'available', amount_cents - fee_cents, completed_at + interval '3 days',
            status = 'returned')) moved (kind, source, target, cents, at, applies)
     where wallet_id = %(wallet)s and applies and at >= %(from)s and at < %(to)s
     order by at
"""
_HISTORY = """
    insert into payout_transitions (payout_id, sequence, to_status, attempt, reason, failure_code, created_at)
    select id, 4, status, 1, 'bench', coalesce(failure_code, 'R01'), completed_at
      from payouts where wallet_id = %(wallet)s and status in ('failed', 'returned')
"""
_LEFT = """
    select (select max(position) from transfers where wallet_id = %(wallet)s),
           coalesce((select position from analytics_folds where wallet_id = %(wallet)s), 0)
"""


def measure(bench: Bench) -> None:
    """Query a year of payouts by days, months and as a whole, folded and partly folded."""
    system = bench.system(fresh=True)
    days, payouts, requests = bench.size(365, 60), bench.size(2_000_000, 20_000), bench.size(100, 10)
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    with system.database() as database:
        # A zone other than UTC: no day is a day of UTC
        database.execute("update organizations set time_zone = 'America/Chicago'")
        (wallet,) = database.execute("select id from wallets where mode = 'sandbox'").fetchone() or (None,)
        values = values_of(wallet, begin, days, payouts, bench.size(5_000, 100))
        fill(database, values, payouts, days)
        started = time.monotonic()
        transfers = wait_until_folded(database, wallet)
        bench.tell(f"{transfers:,} transfers, the last of them folded {time.monotonic() - started:.0f} s later")
        database.execute("vacuum analyze")
        sizes = database.execute(
            "select relname, reltuples::bigint, pg_total_relation_size(oid) / 1048576 from pg_class "
            "where relkind = 'r' and (relname like 'analytics%' or relname in ('transfers', 'payouts')) order by 1"
        ).fetchall()
        bench.tell("; ".join(f"{name}: {rows:,} rows, {mib} MiB" for name, rows, mib in sizes))
        measured = measure_all(system, begin, days, requests)
        # and when some are not folded, because the row that folding locks is locked
        with psycopg.connect(system.stack["database_url"]) as holding:
            holding.execute("select from analytics_folds where wallet_id = %s for update", [wallet])
            put(database, values, payouts, payouts + UNFOLDED, begin + timedelta(days=days))
            behind = measure_all(system, begin, days, 10)
        measured |= {f"{name}, not all folded": one for name, one in behind.items() if name.endswith("of all")}
    slowest = sorted(measured.items(), key=lambda one: -one[1].percentile(50))
    for name, load in slowest[:5]:
        note = f"p99 {load.percentile(99):.1f} ms"
        bench.add(f"{name}, {payouts:,} payouts, p50", load.percentile(50), "ms", at_most(PROMISED_MS), note=note)
    bench.tell("the others, p50: " + ", ".join(f"{name} {load.percentile(50):.1f} ms" for name, load in slowest[5:]))
    bench.close()


def values_of(wallet: object, begin: datetime, days: int, payouts: int, drivers: int) -> dict[str, Any]:
    """Return the parameters of the statements."""
    return {"wallet": wallet, "drivers": drivers, "begin": begin, "step": timedelta(days=days) / payouts}


def fill(database: psycopg.Connection[Any], values: Mapping[str, Any], payouts: int, days: int) -> None:
    """Insert a year of payouts and their transfers."""
    database.execute(_DRIVERS, values)
    for first in range(0, payouts, 100_000):
        database.execute(_PAYOUTS, {**values} | {"first": first, "last": min(first + 100_000, payouts) - 1})
    database.execute("analyze payouts")
    database.execute(_HISTORY, values)
    month = timedelta(days=30)
    for number in range(days // 30 + 2):
        database.execute(
            _TRANSFERS,
            {**values} | {"from": values["begin"] + number * month, "to": values["begin"] + (number + 1) * month},
        )
    database.execute("vacuum analyze")


def put(database: psycopg.Connection[Any], values: Mapping[str, Any], first: int, end: int, since: datetime) -> None:
    """Insert more payouts, after all others."""
    database.execute(_PAYOUTS, {**values} | {"first": first, "last": end - 1})
    database.execute(
        _TRANSFERS.replace("where wallet_id", "where requested_at >= %(from)s and wallet_id"),
        {**values} | {"from": since, "to": since + timedelta(days=30)},
    )


def wait_until_folded(database: psycopg.Connection[Any], wallet: object) -> int:
    """Wait for the scheduler; return the number of transfers."""
    deadline = time.monotonic() + 1800
    while True:
        last, position = database.execute(_LEFT, {"wallet": wallet}).fetchone() or (0, 0)
        if last == position:
            (count,) = database.execute("select count(*) from transfers").fetchone() or (0,)
            return int(count)
        assert time.monotonic() < deadline, f"folded to {position} of {last}"
        time.sleep(1)


def measure_all(system: System, begin: datetime, days: int, requests: int) -> dict[str, Load]:
    """Return the latencies of each kind of request. Kinds take turns: slow moments of the machine hit all of them."""
    middle, end = begin + timedelta(days=days // 2), begin + timedelta(days=days + 10)
    odd = timedelta(hours=9, minutes=41)
    ranges = {
        "a day": f"from={middle.date()}&to={(middle + timedelta(days=1)).date()}",
        "a month": f"from={middle.date()}&to={(middle + timedelta(days=30)).date()}",
        "a month in UTC": f"from={stamp(middle)}&to={stamp(middle + timedelta(days=30))}",
        "11 months to the minute": f"from={stamp(begin + odd)}&to={stamp(end - timedelta(days=44) - odd)}",
        "all": f"from={begin.date() - timedelta(days=2)}&to={end.date()}",
    }
    asked = {}
    for name, chosen in ranges.items():
        for endpoint in ("summary", "timeseries", "drivers", "rails", "failures"):
            asked[f"/{endpoint} of {name}"] = f"/{endpoint}?{chosen}"
    asked["/timeseries?interval=week of all"] = f"/timeseries?interval=week&{ranges['all']}"
    asked["/timeseries?interval=month of all"] = f"/timeseries?interval=month&{ranges['all']}"
    asked["/drivers?page=20 of all"] = f"/drivers?page=20&{ranges['all']}"
    customer, address = system.customer, urlsplit(system.stack["gateway"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(requests + 10):
        for name, path in asked.items():
            started = time.perf_counter()
            connection.request("GET", f"/api/v1/analytics{path}", headers=customer.headers)
            answer = connection.getresponse()
            body = answer.read()
            taken[name].append((time.perf_counter() - started) * 1000)
            assert answer.status == 200, body
    connection.close()
    return {name: Load("", 0, requests, 0, curve_of(times[10:])) for name, times in taken.items()}


def stamp(moment: datetime) -> str:
    """Return a time for a query."""
    return quote(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


LINE = Line("ANALYTICS", "analytics over 2,000,000 payouts", measure)
