"""B10: provider webhooks stored and applied per second: 64 connections, one wallet, completed payouts.

First the workers are stopped: what the door takes alone. Then they wake up: what they apply alone. Then
both at once, as in a storm. The bare aiohttp handler (b) says what this machine can do just now.
"""

import json
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from shared import ledger
from shared.payouts import submissions
from shared.payouts.accept import accept_payouts
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.provider_results import record_outcome
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.rows import PayoutRow
from shared.payouts.submission_leases import claim_submissions
from shared.platform.clock import SystemClock
from shared.platform.ids import DRIVER, new_id, parse_id
from shared.schema.payouts import Rail
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.report import at_least
from tests.benchmarks.storm import storm
from tests.benchmarks.system import System
from tests.support import provider_webhooks
from tests.support.polling import until
from tests.support.provider_steps import accepted_answer
from tests.support.raw_http import request

WEBHOOKS, IN_SMALL = 20_000, 1_000
CONNECTIONS = 64
GROUP = 1_000
AMOUNT_CENTS, NET_CENTS = 1_000, 750
HOUR = timedelta(hours=1)


def measure(bench: Bench) -> None:
    """Send each completion once, and count every response."""
    system, count = bench.system(), bench.size(WEBHOOKS, IN_SMALL)
    driver_id = parse_id(DRIVER, system.drivers[0])
    assert driver_id is not None
    url, secret = system.stack["gateway"], system.stack["webhook_secret"]
    system.until_idle()
    with system.engine() as engine, system.database() as database:
        first = webhooks(processing(engine, system.wallet_id, driver_id, count), secret)
        second = webhooks(processing(engine, system.wallet_id, driver_id, count), secret)
        database.execute("vacuum analyze")
        applied, completed = _applied(database), system.count_by(database)
        with system.suspended("workers", "scheduler", "paystream"), bench.watched(system, "taken alone") as watch:
            taken = storm(url, first, CONNECTIONS)
            watch.done = count
        with bench.watched(system, "applied alone") as watch:
            watch.done = count
            applied_seconds = _until_completed(system, database, completed + count)
        with bench.watched(system, "both") as watch:
            watch.done = count
            started = time.perf_counter()
            both = storm(url, second, CONNECTIONS)
            _until_completed(system, database, completed + 2 * count)
            both_seconds = time.perf_counter() - started
        repeated = storm(url, second, CONNECTIONS)
        assert (taken.refused, both.refused, repeated.refused) == (0, 0, 0)
        assert _applied(database) - applied == 2 * count
    bench.distribution("workers asleep", taken)
    bench.distribution("workers at work", both)
    bench.add("webhooks accepted, workers asleep", taken.a_second, "/s", at_least(5_000), "b")
    bench.add("webhooks applied, none coming", count / applied_seconds, "/s", at_least(4_000))
    bench.add("accepted while they are applied", both.a_second, "/s", note=f"p99 {both.percentile(99):.0f} ms")
    bench.add("applied while they come, first to last", count / both_seconds, "/s")
    bench.add("the same once more, which does nothing", repeated.a_second, "/s")


def processing(engine: sa.Engine, wallet_id: uuid.UUID, driver_id: uuid.UUID, count: int) -> list[str]:
    """Create submitted payouts without the call; return the provider's ids."""
    now, payment_ids = SystemClock().now(), []
    for begin in range(0, count, GROUP):
        orders = [
            PayoutOrder(new_id(), wallet_id, driver_id, str(driver_id), AMOUNT_CENTS, Rail.STANDARD)
            for _ in range(min(GROUP, count - begin))
        ]
        with engine.begin() as connection:  # one transaction: workers must not see them before
            rows = accept_payouts(
                connection,
                orders,
                load_order_context(connection, orders),
                ledger.lock_wallets(connection, {wallet_id}),
                now,
                grace=HOUR,
            )
            ids = [row.id for row in rows if isinstance(row, PayoutRow)]
            assert len(ids) == len(orders), rows
            queue_validated_payouts(connection, ids, now, grace=HOUR)
            prepared = submissions.prepare_submissions(connection, ids, now, reason="benchmark")
            for held in claim_submissions(connection, prepared.submission_ids, lease_seconds=60):
                answer = accepted_answer(held)
                record_outcome(connection, held, answer, now, poll_after=HOUR)
                payment_ids += [payment["id"] for payment in answer.data["payments"]]
    return payment_ids


def webhooks(payment_ids: Sequence[str], secret: str, path: str = provider_webhooks.PATH) -> list[bytes]:
    """Return the signed requests of their completions."""
    made = []
    for payment_id in payment_ids:
        data = {"paymentId": payment_id, "amount": NET_CENTS, "status": "completed"}
        told = {"id": f"evt_{uuid.uuid4().hex}", "type": "payment.completed", "data": data}
        body = json.dumps(told | {"timestamp": "2026-02-08T10:00:00Z"}).encode()
        headers = [
            ("Content-Type", b"application/json"),
            ("X-Signature", provider_webhooks.signature(body, secret).encode()),
        ]
        made.append(request("POST", path.encode(), headers, body))
    return made


def _applied(database: psycopg.Connection[Any]) -> int:
    row = database.execute("select count(*) from provider_events where status = 'applied'").fetchone()
    assert row is not None
    return int(row[0])


def _until_completed(system: System, database: psycopg.Connection[Any], wanted: int) -> float:
    """Return the seconds until that many payouts have the status."""
    started = time.perf_counter()
    until(lambda: system.count_by(database) >= wanted, "all are completed", 300, 0.02)
    return time.perf_counter() - started


LINE = Line("B10", "the provider's webhooks: accepted and applied", measure)
