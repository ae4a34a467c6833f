"""How many of Paystream's webhooks are taken and applied a second? 64 connections, one wallet, completed payouts.

First the workers are stopped: what the door takes alone. Then they wake up: what they apply alone. Then
both at once, as in a storm. A bare aiohttp server that reads the same requests says what this machine can do just now.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa

from shared import ledger
from shared.clock import SystemClock
from shared.db import engine_for
from shared.ids import DRIVER, new_id, parse
from shared.models.payouts import Rail
from shared.payouts import submit
from shared.payouts.accept import Order, accept, look_up
from shared.payouts.answers import record
from shared.payouts.queue import queue
from shared.payouts.rows import PayoutRow
from shared.settings import Settings
from tests.acceptance import notice
from tests.acceptance.asking import until
from tests.acceptance.customer import Customer
from tests.acceptance.stack import Stack, descendants_of, running_stack
from tests.benchmarks.storm import Storm, storm
from tests.contract.raw_http import request
from tests.integration.test_submit import accepted_answer

WEBHOOKS = int(os.environ.get("OVNPAY_BENCH_WEBHOOKS", "10000"))
CONNECTIONS = 64
GROUP = 1_000
AMOUNT_CENTS, NET_CENTS = 1_000, 750
HOUR = timedelta(hours=1)

_ECHO = """
import uvloop
from aiohttp import web

async def echo(request):
    await request.read()
    return web.json_response({"success": True})

async def main():
    application = web.Application(client_max_size=2**20)
    application.router.add_post("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    import asyncio
    await asyncio.Event().wait()

uvloop.run(main())
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system of its own."""
    with running_stack(tmp_path_factory.mktemp("bench")) as running:
        yield running


@contextmanager
def asleep(stack: Stack, *names: str) -> Iterator[None]:
    """While this lasts, these processes do nothing."""
    pids = [pid for name in names if (top := stack.pid(name)) for pid in (top, *descendants_of(top))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def processing(engine: sa.Engine, wallet_id: uuid.UUID, driver_id: uuid.UUID, count: int) -> list[str]:
    """The provider's ids of that many payouts, made as the services make them, but for the call."""
    now, payment_ids = SystemClock().now(), []
    for begin in range(0, count, GROUP):
        orders = [
            Order(new_id(), wallet_id, driver_id, str(driver_id), AMOUNT_CENTS, Rail.STANDARD)
            for _ in range(min(GROUP, count - begin))
        ]
        with engine.begin() as connection:  # one transaction, or the workers would take them
            rows = accept(
                connection, orders, look_up(connection, orders), ledger.lock(connection, {wallet_id}), now, grace=HOUR
            )
            ids = [row.id for row in rows if isinstance(row, PayoutRow)]
            assert len(ids) == len(orders), rows
            queue(connection, ids, now, grace=HOUR)
            prepared = submit.prepare(connection, ids, now, reason="benchmark")
            for held in submit.claim(connection, prepared.submission_ids, lease_seconds=60):
                answer = accepted_answer(held)
                record(connection, held, answer, now, poll_after=HOUR)
                payment_ids += [payment["id"] for payment in answer.data["payments"]]
    return payment_ids


def webhooks(payment_ids: Sequence[str], secret: str, path: str = notice.PATH) -> list[bytes]:
    """Their completions, signed, as they go on the wire."""
    made = []
    for payment_id in payment_ids:
        data = {"paymentId": payment_id, "amount": NET_CENTS, "status": "completed"}
        told = {"id": f"evt_{uuid.uuid4().hex}", "type": "payment.completed", "data": data}
        body = json.dumps(told | {"timestamp": "2026-02-08T10:00:00Z"}).encode()
        headers = [("Content-Type", b"application/json"), ("X-Signature", notice.signature(body, secret).encode())]
        made.append(request("POST", path.encode(), headers, body))
    return made


def echo(requests: Sequence[bytes]) -> Storm:
    """The yardstick."""
    with subprocess.Popen([sys.executable, "-c", _ECHO], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            return storm(f"http://127.0.0.1:{server.stdout.readline().strip()}", requests, CONNECTIONS)
        finally:
            server.kill()


def left(database: psycopg.Connection) -> int:
    """How many payouts still wait for their webhook's word."""
    row = database.execute("select count(*) from payouts where status = 'processing'").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.timeout(1200)
def test_storm_of_webhooks(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    # Given payouts that Paystream has, and its signed word that each is completed
    customer = Customer(stack["gateway"], stack["sandbox_key"])
    customer.fund(3 * WEBHOOKS * AMOUNT_CENTS)
    driver_id = parse(DRIVER, customer.verified_driver()["id"])
    assert driver_id is not None
    engine = engine_for(Settings(database_url=stack["database_url"], redis_url=""), "bench", pool_size=2)
    with psycopg.connect(stack["database_url"], autocommit=True) as database:
        row = database.execute("select wallet_id from drivers where id = %s", [driver_id]).fetchone()
        assert row is not None
        wallet_id = row[0]
        database.execute("vacuum analyze")
        # When they come while the workers sleep
        first = webhooks(processing(engine, wallet_id, driver_id, WEBHOOKS), stack["webhook_secret"])
        bare = echo(webhooks(["pay_" + uuid.uuid4().hex] * WEBHOOKS, "any", "/"))
        with asleep(stack, "workers", "scheduler", "paystream"):
            taken = storm(stack["gateway"], first, CONNECTIONS)
        # and the workers wake up
        applied_seconds = _until_none_is_left(database)
        # and then as many again come while they work
        second = webhooks(processing(engine, wallet_id, driver_id, WEBHOOKS), stack["webhook_secret"])
        started = time.perf_counter()
        both = storm(stack["gateway"], second, CONNECTIONS)
        _until_none_is_left(database)
        both_seconds = time.perf_counter() - started
        repeated = storm(stack["gateway"], second, CONNECTIONS)
        events = database.execute("select status, count(*) from provider_events group by 1").fetchall()
    engine.dispose()
    rates = {"taken alone": taken.a_second, "applied alone": WEBHOOKS / applied_seconds}
    rates |= {"taken in the storm": both.a_second, "applied in the storm": WEBHOOKS / both_seconds}
    with capsys.disabled():
        print(f"\n{WEBHOOKS:,} webhooks, {CONNECTIONS} connections; load average {os.getloadavg()[0]:.1f}")
        print(bare.line("a bare aiohttp server"))
        print(taken.line("taken, workers stopped"))
        print(f"{'applied, nothing coming':44} {rates['applied alone']:8,.0f}/s")
        print(both.line("taken, workers at work"))
        print(f"{'applied, from the first to the last':44} {rates['applied in the storm']:8,.0f}/s")
        print(repeated.line("the same once more, doing nothing"))
        print("of the bare server: " + ", ".join(f"{name} {rate / bare.a_second:.2f}" for name, rate in rates.items()))
    # Then each was taken, and each applied once
    assert (taken.refused, both.refused, repeated.refused) == (0, 0, 0)
    assert dict(events)["applied"] == 2 * WEBHOOKS


def _until_none_is_left(database: psycopg.Connection) -> float:
    """How many seconds it took."""
    started = time.perf_counter()
    until(lambda: left(database) == 0, "all are completed", 300)
    return time.perf_counter() - started
