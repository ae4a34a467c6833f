"""Reconciliation against a real simulator: what its record is made to say differently becomes a case, and nothing else.

A database of its own, for a comparison is of everything in a mode.
"""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from deploy.local.postgres import EmbeddedPostgres
from shared.controls.reconciliation import after_restore, database_identity, runs
from shared.controls.reconciliation.compare import GracePeriods
from shared.controls.reconciliation.provider_pages import fail_instead_of_waiting
from shared.controls.reconciliation.runs import Reconciler
from shared.holds import cases
from shared.holds.reconcile_only import OutboundGuard, load_outbound_guard
from shared.payouts import poll, submissions
from shared.payouts.submission_leases import claim_submissions
from shared.platform.database import make_engine
from shared.platform.errors import Conflict
from shared.platform.ids import PAYOUT, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.provider.wire import ProviderCall
from shared.schema import migrations
from shared.schema.controls import RunCause
from shared.schema.payouts import Rail
from tests.support.polling import until
from tests.support.world import World
from workers.context import Context
from workers.submissions import send_leased

NO_LIMITS = ("--requests-per-hour", "0", "--funding-per-minute", "0", "--same-day-seconds", "0")
AT_ONCE = GracePeriods(timedelta(0), dict.fromkeys(("standard", "same_day", "instant"), timedelta(0)))


class Ground:
    """One carrier, a database of its own, and the provider whose record can be written in."""

    def __init__(self, engine: sa.Engine, settings: Settings, client: PaystreamClient, record: Path, url: str) -> None:
        self.world = World(engine)
        self.engine, self.settings, self.client, self.record, self.url = engine, settings, client, record, url
        self.by = Reconciler(engine, client, self.world.clock, AT_ONCE, fail_instead_of_waiting)

    def driver(self) -> Any:
        """A driver whom the provider knows and has verified."""
        driver_id = self.world.driver()
        made: Any = self.client.call(
            ProviderCall("sandbox", "POST", "/recipients", {"name": "Dora", "email": "dora@drivers.example"})
        )
        path = f"/recipients/{made.data['id']}/payment-methods"
        self.client.call(ProviderCall("sandbox", "POST", path, {"plaidToken": "token", "isDefault": True}))
        self.world.execute("UPDATE drivers SET recipient_id = :r WHERE id = :id", r=made.data["id"], id=driver_id)
        return driver_id

    def order(self, driver_id: Any, count: int, words: str = "load") -> list[Any]:
        """That many payouts, queued."""
        orders = [
            self.world.order(driver_id, 10_000 + place, Rail.SAME_DAY)._replace(description=f"{words} {place}")
            for place in range(count)
        ]
        rows: Any = self.world.accept(*orders)
        ids = [row.id for row in rows]
        self.world.execute("UPDATE payouts SET status = 'queued' WHERE id = ANY(:ids)", ids=ids)
        return ids

    def send(self, payout_ids: list[Any]) -> list[str]:
        """Hands payouts to the provider; their statuses."""
        with self.engine.begin() as connection:
            prepared = submissions.prepare_submissions(connection, payout_ids, self.world.clock.now(), reason="test")
            held = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
        task_sender = TaskSender(self.settings)
        send_leased(Context(self.settings, self.engine, task_sender, self.client, self.world.clock), held)
        task_sender.close()
        return self.world.statuses(payout_ids)

    def pay(self, payout_ids: list[Any]) -> None:
        """The same, and follows them to their end."""
        self.send(payout_ids)

        def ended() -> bool:
            with self.engine.begin() as connection:
                asked = poll.start_polls(connection, payout_ids, self.world.clock.now(), first_seconds=1)
            outcomes = self.client.call_all([one.call() for one in asked])
            with self.engine.begin() as connection:
                poll.apply_poll_outcomes(connection, asked, outcomes, self.world.clock.now())
            return "processing" not in self.world.statuses(payout_ids)

        until(ended, "the payouts end", pause_seconds=0.05)

    def compare(self) -> runs.RunReport:
        """A comparison of the last two hours."""
        self.world.clock.advance(minutes=10)
        now = self.world.clock.now()
        with self.engine.begin() as connection:
            run = runs.begin_run(
                connection, "sandbox", now - timedelta(hours=2), now + timedelta(hours=1), RunCause.COMMAND, now
            )
        return runs.execute_run(self.by, run)

    def open_cases(self) -> dict[str, cases.CaseRow]:
        """The open cases, by kind."""
        with self.engine.connect() as connection:
            return {one.kind: one for one in cases.load_cases(connection, only_open=True)}

    def payment_of(self, payout_id: Any) -> str:
        """The provider's payment of a payout."""
        [(payment,)] = self.world.rows(
            "SELECT provider_payment_id FROM submission_items WHERE payout_id = :id", id=payout_id
        )
        return str(payment)

    def tamper(self, statement: str, *values: object) -> None:
        """Writes into the provider's record."""
        with closing(sqlite3.connect(self.record, timeout=5)) as record, record:
            record.execute(statement, values)

    def set(self, payout_id: Any, field: str, value: object) -> None:
        """Makes the provider's record say something else of a payment."""
        payment = self.payment_of(payout_id)
        self.tamper("UPDATE payments SET doc = json_set(doc, '$.' || ?, ?) WHERE id = ?", field, value, payment)

    def copy(self, payout_id: Any, new: str, metadata: str | None) -> None:
        """Makes it have the payment once more."""
        self.tamper(
            "INSERT INTO payments SELECT ?, mode, due, status, recipient_id, batch_id, "
            "json_set(doc, '$.id', ?, '$.metadata', json(?)) FROM payments WHERE id = ?",
            *(new, new, metadata, self.payment_of(payout_id)),
        )

    def control(self, path: str, body: object) -> None:
        """A call to the simulator's control."""
        asked = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked):
            pass


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Paystream of the module's own: its URL, and the file with its record."""
    folder = tmp_path_factory.mktemp("paystream")
    record = folder / "record.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.simulator", "--port", "0", "--record", str(record), *NO_LIMITS],
        env={**os.environ, "PAYSTREAM_SIM_TEST_KEY": "psk_test_x", "PAYSTREAM_SIM_LIVE_KEY": "psk_live_x"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    ready = json.loads(next(line for line in process.stderr if "simulator.ready" in line))
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    yield ready["url"], record
    process.terminate()
    process.wait(10)
    drain.join(5)
    process.stderr.close()


@pytest.fixture
def ground(settings: Settings, postgres: EmbeddedPostgres, simulator: tuple[str, Path]) -> Iterator[Ground]:
    """A new database, and the module's provider, whose record is emptied."""
    url, record = simulator
    server = make_engine(settings, "tests", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS reconciled WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE reconciled"))
    server.dispose()
    own = sa.make_url(postgres.url).set(database="reconciled").render_as_string(hide_password=False)
    engine = make_engine(settings, "tests", url=own)
    migrations.upgrade_database(engine)
    with closing(sqlite3.connect(record, timeout=5)) as kept, kept:
        kept.execute("DELETE FROM payments")
    settings = msgspec.structs.replace(settings, database_url=own, paystream_url=url)
    client = PaystreamClient(settings, CallBudget(settings, engine))
    yield Ground(engine, settings, client, record, url)
    client.close()
    engine.dispose()


def test_a_busy_day_has_no_case(ground: Ground) -> None:
    """Paid, failed, and one that Paystream is still at; compared again and again."""
    paid = ground.order(ground.driver(), 30)
    failing = ground.order(ground.driver(), 2, "[simulate:fail:BANK_REJECTED]")
    under_way = ground.order(ground.driver(), 1, "[simulate:stuck]")
    ground.pay(paid + failing)
    ground.send(under_way)
    assert ground.world.statuses(paid + failing) == ["completed"] * 30 + ["failed"] * 2
    for _ in range(2):
        report = ground.compare()
        assert (report.payments, report.differences, report.opened) == (33, [], 0)
    assert ground.open_cases() == {}


def test_each_difference_is_one_case_for_as_long_as_it_lasts(ground: Ground) -> None:
    """Of every kind; seen again it is the same; what is gone is closed by itself, and what a person closed stays so."""
    names = ("amount", "recipient", "currency", "status", "missing_there", "paid_twice", "missing_here")
    payouts = dict(zip(names, ground.order(ground.driver(), len(names)), strict=True))
    ground.pay(list(payouts.values()))
    before = ground.world.balances()
    # When Paystream's record is changed
    ground.set(payouts["amount"], "amount", 1)
    ground.set(payouts["recipient"], "recipientId", "rec_other")
    ground.set(payouts["currency"], "currency", "eur")
    ground.set(payouts["status"], "status", "failed")
    named = json.dumps({"payoutId": public_id(PAYOUT, payouts["paid_twice"])})
    ground.copy(payouts["paid_twice"], "pay_9999999999999999991", named)
    ground.copy(payouts["missing_here"], "pay_9999999999999999992", None)
    ground.tamper("DELETE FROM payments WHERE id = ?", ground.payment_of(payouts["missing_there"]))
    # Then each is a case that names its payout, once
    first = ground.compare()
    found = ground.open_cases()
    assert set(found) == set(names)
    assert first.opened == len(names)
    for kind in set(names) - {"missing_here"}:
        assert found[kind].payout_id == payouts[kind], kind
    assert found["missing_here"].payment_id == "pay_9999999999999999992"
    assert found["missing_here"].wallet_id == ground.world.wallet_id
    assert ground.compare().opened == 0
    # and no money has moved, no status changed
    assert ground.world.balances() == before
    assert set(ground.world.statuses(list(payouts.values()))) == {"completed"}
    # When one is mended, and a person closes another
    [(net_cents,)] = ground.world.rows(
        "SELECT amount_cents - fee_cents FROM payouts WHERE id = :id", id=payouts["amount"]
    )
    ground.set(payouts["amount"], "amount", net_cents)
    with ground.engine.begin() as connection:
        cases.close_case(
            connection, found["missing_here"].id, "ann@x.example", "paid by hand", ground.world.clock.now()
        )
    again = ground.compare()
    assert (again.opened, again.closed) == (0, 1)
    assert set(ground.open_cases()) == set(names) - {"amount", "missing_here"}
    with ground.engine.connect() as connection:
        closed = {one.kind: one.closed_by for one in cases.load_cases(connection, only_open=False) if one.closed_at}
    assert closed == {"amount": "system", "missing_here": "ann@x.example"}


def test_a_balance_that_goes_another_way_is_a_case(ground: Ground) -> None:
    """Payouts and their fees explain themselves; a debit of which we know nothing does not."""
    ground.compare()
    ground.pay(ground.order(ground.driver(), 2))
    assert ground.compare().differences == []
    ground.control("/control/balance", {"mode": "test", "amount": -777})
    ground.compare()
    case = ground.open_cases()["balance"]
    assert case.ours is not None
    assert case.theirs is not None
    assert case.ours["balance"] - case.theirs["balance"] == 777
    ground.control("/control/balance", {"mode": "test", "amount": 777})
    ground.compare()
    assert ground.open_cases() == {}


def test_the_daily_comparison_is_made_once_and_catches_up(ground: Ground) -> None:
    """Of several schedulers one makes it; the next one after missed days begins where the last ended."""
    clock, engine = ground.world.clock, ground.engine
    tomorrow = clock.now().date() + timedelta(days=1)
    clock.advance(seconds=(datetime.combine(tomorrow, time_of_day(12), UTC) - clock.now()).total_seconds())
    claimed: list[runs.ReconciliationRun | None] = []

    def claim() -> None:
        with engine.begin() as connection:
            claimed.append(runs.claim_daily_run(connection, "sandbox", clock.now()))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [run] = [one for one in claimed if one is not None]
    runs.execute_run(ground.by, run)
    claim()
    assert claimed[-1] is None
    clock.advance(days=4)
    claim()
    later = claimed[-1]
    assert later is not None
    assert later.since == run.until - timedelta(days=runs.SETTLING_DAYS)
    # One whose process died is given up, and made by somebody else.
    clock.advance(hours=2)
    claim()
    assert claimed[-1] is None
    clock.advance(minutes=11)
    claim()
    assert claimed[-1] is not None


@pytest.mark.parametrize("restored", ["dump", "timeline"])
def test_a_database_that_may_be_older_sends_nothing_until_it_was_compared(ground: Ground, restored: str) -> None:
    """Out of a dump, or recovered to an earlier point: seen by itself; what was lost is held when it comes again."""
    clock, engine = ground.world.clock, ground.engine
    database_identity.create_installation_row(engine)
    assert _gate(engine) is OutboundGuard.UNVERIFIED
    assert database_identity.verify_identity(ground.by, ["sandbox"]) is OutboundGuard.OPEN
    driver_id = ground.driver()
    lost = ground.order(driver_id, 1, "lost")
    ground.pay(lost)
    # When the payout is gone, as after a restore, and the row is not as it was written
    for table in ("submission_items", "payout_transitions", "customer_events", "transfers"):
        ground.world.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    ground.world.execute("DELETE FROM submission_items WHERE payout_id = :id", id=lost[0])
    ground.world.execute("DELETE FROM payouts WHERE id = :id", id=lost[0])
    if restored == "dump":
        ground.world.execute("CREATE TABLE copied AS SELECT * FROM installation")
        ground.world.execute("DELETE FROM installation; INSERT INTO installation SELECT * FROM copied")
    else:
        ground.world.execute(
            "UPDATE installation SET timeline = timeline + 1, server_started_at = '2026-01-01Z', "
            "written_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        )
    # Then nothing leaves before somebody has looked, nor until Paystream's record was compared
    [waiting] = ground.order(driver_id, 1, "new")
    assert ground.send([waiting]) == ["processing"]
    assert database_identity.verify_identity(ground.by, ["sandbox"]) is OutboundGuard.RECONCILE_ONLY
    assert ground.send(ground.order(driver_id, 1, "later")) == ["queued"]
    with engine.begin() as connection, pytest.raises(Conflict, match="was not compared"):
        database_identity.turn_off_reconcile_only(connection, "ann", "in a hurry", clock.now())
    wait = timedelta(seconds=10)
    assert not after_restore.compare_restored_database(ground.by, ["sandbox"], wait=wait, lease_seconds=30)
    clock.advance(seconds=11)
    assert after_restore.compare_restored_database(ground.by, ["sandbox"], wait=wait, lease_seconds=30)
    assert _gate(engine) is OutboundGuard.OPEN
    # and the payout that is asked for again is held, and another one paid
    [again, other] = [*ground.order(driver_id, 1, "lost"), *ground.order(driver_id, 1, "other")]
    assert ground.send([again, other]) == ["queued", "processing"]
    [(reason,)] = ground.world.rows("SELECT held_reason FROM payouts WHERE id = :id", id=again)
    assert "missing in our records" in str(reason)


def test_a_person_who_stops_payments_lets_them_go_again(ground: Ground) -> None:
    """Not before Paystream's record was compared; every organization's log has it."""
    clock, engine = ground.world.clock, ground.engine
    with engine.begin() as connection:
        database_identity.turn_on_reconcile_only(connection, "ann", "the backup was put back", clock.now())
    clock.advance(seconds=1)
    assert not after_restore.compare_restored_database(ground.by, ["sandbox"], wait=timedelta(0), lease_seconds=30)
    assert _gate(engine) is OutboundGuard.RECONCILE_ONLY
    with engine.begin() as connection:
        database_identity.turn_off_reconcile_only(connection, "bob", "compared, no case", clock.now())
    assert _gate(engine) is OutboundGuard.OPEN
    told = ground.world.rows("SELECT after ->> 'by' FROM audit_entries WHERE action = 'installation.reconcile_only'")
    assert sorted(told) == [("ann",), ("bob",)]


def _gate(engine: sa.Engine) -> OutboundGuard:
    with engine.connect() as connection:
        return load_outbound_guard(connection)
