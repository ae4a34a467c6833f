"""A due batch is released once, although workers are killed during the release."""

import os
import signal
import time
from typing import Any

import psycopg
import pytest

from tests.support import ledger
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack, descendants_of

pytestmark = pytest.mark.long

PATH = "/api/v1/batches"
PAYOUTS = 4_000
AMOUNT_CENTS = 1_000
FEE_CENTS = 5


def test_batch_is_paid_once_although_its_release_was_killed(
    fast_stack: Stack, fast_customer: Customer, fast_driver_id: str, paystream: Simulator
) -> None:
    # Given a batch of thousands of payouts that is due soon
    fast_customer.fund(PAYOUTS * AMOUNT_CENTS)
    before_cents = fast_customer.available_cents()
    payout = {"driverId": fast_driver_id, "amount": AMOUNT_CENTS, "description": "<half-way>"}
    batch = fast_customer.post(PATH, {"name": "Half-way", "payouts": [payout] * PAYOUTS}).data
    due = {"scheduledFor": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))}
    assert fast_customer.post(f"{PATH}/{batch['id']}/reschedule", due).status == 200
    # When the workers are killed during the release
    with psycopg.connect(fast_stack["database_url"], autocommit=True) as database:
        until(lambda: _is_being_released(database), "it is being released", 30, pause_seconds=0.002)
        _kill_workers(fast_stack)
        assert _status(database, batch) == "queued", "an interrupted release left no trace"
        # Then it is released again, and each payout is paid once
        until(lambda: _status(database, batch) == "completed", "the batch completes", 90, pause_seconds=0.5)
    shown = fast_customer.get(f"{PATH}/{batch['id']}").data
    assert shown["countsByStatus"] == {"completed": PAYOUTS}
    assert before_cents - fast_customer.available_cents() == PAYOUTS * AMOUNT_CENTS
    paid = paystream.payments_described("<half-way>")
    assert len(paid) == PAYOUTS
    assert {payment["amount"] for payment in paid} == {AMOUNT_CENTS - FEE_CENTS}
    assert len({payment["description"].partition(" ")[0] for payment in paid}) == PAYOUTS
    # in few submissions: a call that times out is repeated with its key
    with psycopg.connect(fast_stack["database_url"]) as database:
        assert _submissions(database, batch) <= 2 * PAYOUTS // 1_000
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def _is_being_released(database: "psycopg.Connection[Any]") -> bool:
    """Whether a worker's transaction is writing the new statuses of the payouts."""
    row = database.execute("""
        SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'ovnpay-workers' AND state = 'active' AND query LIKE '%WITH move AS%'
    """).fetchone()
    return row is not None and row[0] > 0


def _kill_workers(stack: Stack) -> None:
    master = until(lambda: stack.pid("workers"), "the workers are running")
    for pid in [*descendants_of(master), master]:
        os.kill(pid, signal.SIGKILL)


def _status(database: "psycopg.Connection[Any]", batch: Any) -> str:
    row = database.execute("SELECT status FROM batches WHERE id = %s", [ledger.uuid_of(batch["id"])]).fetchone()
    assert row is not None
    return str(row[0])


def _submissions(database: "psycopg.Connection[Any]", batch: Any) -> int:
    """Return the number of submissions of the batch."""
    ids = [ledger.uuid_of(batch["id"])]
    row = database.execute("SELECT count(DISTINCT submission_id) FROM payouts WHERE batch_id = %s", ids).fetchone()
    assert row is not None
    return int(row[0])
