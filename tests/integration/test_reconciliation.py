"""Reconciliation with the simulator: each difference planted in its record becomes a case, and nothing else does.

Uses its own database, because a run compares everything of a mode.
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
from shared.controls.reconciliation.reconcile import RunReport, execute_run
from shared.controls.reconciliation.reconciler import Reconciler
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
NO_GRACE = GracePeriods(timedelta(0), dict.fromkeys(("standard", "same_day", "instant"), timedelta(0)))


class Installation:
    """A carrier with its own database, and a simulator whose record can be changed."""

    def __init__(self, engine: sa.Engine, settings: Settings, client: PaystreamClient, record: Path, url: str) -> None:
        self.world = World(engine)
        self.engine, self.settings, self.client, self.record, self.url = engine, settings, client, record, url
        self.reconciler = Reconciler(engine, client, self.world.clock, NO_GRACE, fail_instead_of_waiting)

    def driver(self) -> Any:
        """Register a driver that the provider has verified."""
        driver_id = self.world.driver()
        made: Any = self.client.call(
            ProviderCall("sandbox", "POST", "/recipients", {"name": "Dora", "email": "dora@drivers.example"})
        )
        path = f"/recipients/{made.data['id']}/payment-methods"
        self.client.call(ProviderCall("sandbox", "POST", path, {"plaidToken": "token", "isDefault": True}))
        self.world.execute("UPDATE drivers SET recipient_id = :r WHERE id = :id", r=made.data["id"], id=driver_id)
        return driver_id

    def order(self, driver_id: Any, count: int, words: str = "load") -> list[Any]:
        """Create queued payouts."""
        orders = [
            self.world.order(driver_id, 10_000 + number, Rail.SAME_DAY)._replace(description=f"{words} {number}")
            for number in range(count)
        ]
        rows: Any = self.world.accept(*orders)
        ids = [row.id for row in rows]
        self.world.execute("UPDATE payouts SET status = 'queued' WHERE id = ANY(:ids)", ids=ids)
        return ids

    def send(self, payout_ids: list[Any]) -> list[str]:
        """Send payouts to the provider; return their statuses."""
        with self.engine.begin() as connection:
            prepared = submissions.prepare_submissions(connection, payout_ids, self.world.clock.now(), reason="test")
            leased = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
        task_sender = TaskSender(self.settings)
        send_leased(Context(self.settings, self.engine, task_sender, self.client, self.world.clock), leased)
        task_sender.close()
        return self.world.statuses(payout_ids)

    def pay(self, payout_ids: list[Any]) -> None:
        """Send payouts and poll them until they end."""
        self.send(payout_ids)

        def ended() -> bool:
            with self.engine.begin() as connection:
                polled = poll.start_polls(connection, payout_ids, self.world.clock.now(), first_seconds=1)
            outcomes = self.client.call_all([one.call() for one in polled])
            with self.engine.begin() as connection:
                poll.apply_poll_outcomes(connection, polled, outcomes, self.world.clock.now())
            return "processing" not in self.world.statuses(payout_ids)

        until(ended, "the payouts end", pause_seconds=0.05)

    def compare(self) -> RunReport:
        """Compare the last two hours."""
        self.world.clock.advance(minutes=10)
        now = self.world.clock.now()
        with self.engine.begin() as connection:
            run = runs.begin_run(
                connection, "sandbox", now - timedelta(hours=2), now + timedelta(hours=1), RunCause.COMMAND, now
            )
        return execute_run(self.reconciler, run)

    def open_cases(self) -> dict[str, cases.CaseRow]:
        """Return the open cases by kind."""
        with self.engine.connect() as connection:
            return {one.kind: one for one in cases.load_cases(connection, only_open=True)}

    def payment_of(self, payout_id: Any) -> str:
        """Return the id of a payout's payment."""
        [(payment,)] = self.world.rows(
            "SELECT provider_payment_id FROM submission_items WHERE payout_id = :id", id=payout_id
        )
        return str(payment)

    def tamper(self, statement: str, *values: object) -> None:
        """Run a statement on the simulator's record."""
        with closing(sqlite3.connect(self.record, timeout=5)) as record, record:
            record.execute(statement, values)

    def set(self, payout_id: Any, field: str, value: object) -> None:
        """Change a field of a payment in the simulator's record."""
        payment = self.payment_of(payout_id)
        self.tamper("UPDATE payments SET doc = json_set(doc, '$.' || ?, ?) WHERE id = ?", field, value, payment)

    def copy(self, payout_id: Any, new: str, metadata: str | None) -> None:
        """Duplicate a payment in the simulator's record."""
        self.tamper(
            "INSERT INTO payments SELECT ?, mode, due, status, recipient_id, batch_id, "
            "json_set(doc, '$.id', ?, '$.metadata', json(?)) FROM payments WHERE id = ?",
            *(new, new, metadata, self.payment_of(payout_id)),
        )

    def control(self, path: str, body: object) -> None:
        """Call the simulator's control API."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request):
            pass


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start a simulator for this module; yield its URL and the file of its record."""
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
def installation(settings: Settings, postgres: EmbeddedPostgres, simulator: tuple[str, Path]) -> Iterator[Installation]:
    """Create a new database, and empty the simulator's record."""
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
    yield Installation(engine, settings, client, record, url)
    client.close()
    engine.dispose()


def test_payouts_that_agree_open_no_case(installation: Installation) -> None:
    """Paid, failed and processing ones, compared twice."""
    paid = installation.order(installation.driver(), 30)
    failing = installation.order(installation.driver(), 2, "[simulate:fail:BANK_REJECTED]")
    processing = installation.order(installation.driver(), 1, "[simulate:stuck]")
    installation.pay(paid + failing)
    installation.send(processing)
    assert installation.world.statuses(paid + failing) == ["completed"] * 30 + ["failed"] * 2
    for _ in range(2):
        report = installation.compare()
        assert (report.payments, report.differences, report.opened) == (33, [], 0)
    assert installation.open_cases() == {}


def test_difference_is_one_case_until_it_is_gone_or_closed(installation: Installation) -> None:
    names = ("amount", "recipient", "currency", "status", "missing_there", "paid_twice", "missing_here")
    payouts = dict(zip(names, installation.order(installation.driver(), len(names)), strict=True))
    installation.pay(list(payouts.values()))
    before = installation.world.balances()
    # When Paystream's record is changed
    installation.set(payouts["amount"], "amount", 1)
    installation.set(payouts["recipient"], "recipientId", "rec_other")
    installation.set(payouts["currency"], "currency", "eur")
    installation.set(payouts["status"], "status", "failed")
    named = json.dumps({"payoutId": public_id(PAYOUT, payouts["paid_twice"])})
    installation.copy(payouts["paid_twice"], "pay_9999999999999999991", named)
    installation.copy(payouts["missing_here"], "pay_9999999999999999992", None)
    installation.tamper("DELETE FROM payments WHERE id = ?", installation.payment_of(payouts["missing_there"]))
    # Then each becomes one case with its payout
    first = installation.compare()
    found = installation.open_cases()
    assert set(found) == set(names)
    assert first.opened == len(names)
    for kind in set(names) - {"missing_here"}:
        assert found[kind].payout_id == payouts[kind], kind
    assert found["missing_here"].payment_id == "pay_9999999999999999992"
    assert found["missing_here"].wallet_id == installation.world.wallet_id
    assert installation.compare().opened == 0
    # and no money moves, no status changes
    assert installation.world.balances() == before
    assert set(installation.world.statuses(list(payouts.values()))) == {"completed"}
    # When one difference is gone, and a person closes another, then both cases stay closed
    [(net_cents,)] = installation.world.rows(
        "SELECT amount_cents - fee_cents FROM payouts WHERE id = :id", id=payouts["amount"]
    )
    installation.set(payouts["amount"], "amount", net_cents)
    with installation.engine.begin() as connection:
        cases.close_case(
            connection, found["missing_here"].id, "ann@x.example", "paid by hand", installation.world.clock.now()
        )
    again = installation.compare()
    assert (again.opened, again.closed) == (0, 1)
    assert set(installation.open_cases()) == set(names) - {"amount", "missing_here"}
    with installation.engine.connect() as connection:
        closed = {one.kind: one.closed_by for one in cases.load_cases(connection, only_open=False) if one.closed_at}
    assert closed == {"amount": "system", "missing_here": "ann@x.example"}


def test_unexplained_change_of_the_balance_opens_a_case(installation: Installation) -> None:
    """Payouts and their fees explain themselves; an unknown debit does not."""
    installation.compare()
    installation.pay(installation.order(installation.driver(), 2))
    assert installation.compare().differences == []
    installation.control("/control/balance", {"mode": "test", "amount": -777})
    installation.compare()
    case = installation.open_cases()["balance"]
    assert case.ours is not None
    assert case.theirs is not None
    assert case.ours["balance"] - case.theirs["balance"] == 777
    installation.control("/control/balance", {"mode": "test", "amount": 777})
    installation.compare()
    assert installation.open_cases() == {}


def test_daily_run_is_claimed_once_and_catches_up_missed_days(installation: Installation) -> None:
    clock, engine = installation.world.clock, installation.engine
    tomorrow = clock.now().date() + timedelta(days=1)
    clock.advance(seconds=(datetime.combine(tomorrow, time_of_day(12), UTC) - clock.now()).total_seconds())
    claimed: list[runs.StartedRun | None] = []

    def claim() -> None:
        with engine.begin() as connection:
            claimed.append(runs.claim_daily_run(connection, "sandbox", clock.now()))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [run] = [one for one in claimed if one is not None]
    execute_run(installation.reconciler, run)
    claim()
    assert claimed[-1] is None
    clock.advance(days=4)
    claim()
    later = claimed[-1]
    assert later is not None
    assert later.since == run.until - timedelta(days=runs.SETTLING_DAYS)
    # A run whose process died is failed, and claimed again.
    clock.advance(hours=2)
    claim()
    assert claimed[-1] is None
    clock.advance(minutes=11)
    claim()
    assert claimed[-1] is not None


@pytest.mark.parametrize("restored", ["dump", "timeline"])
def test_restored_database_sends_nothing_until_it_is_compared(installation: Installation, restored: str) -> None:
    """After a dump or a point-in-time recovery; a lost payout that is requested again is put on hold."""
    clock, engine = installation.world.clock, installation.engine
    database_identity.create_installation_row(engine)
    assert _load_guard(engine) is OutboundGuard.UNVERIFIED
    assert database_identity.verify_identity(installation.reconciler, ["sandbox"]) is OutboundGuard.OPEN
    driver_id = installation.driver()
    lost = installation.order(driver_id, 1, "lost")
    installation.pay(lost)
    # When the payout is lost, as after a restore, and the row is not as its transaction wrote it
    for table in ("submission_items", "payout_transitions", "customer_events", "transfers"):
        installation.world.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    installation.world.execute("DELETE FROM submission_items WHERE payout_id = :id", id=lost[0])
    installation.world.execute("DELETE FROM payouts WHERE id = :id", id=lost[0])
    if restored == "dump":
        installation.world.execute("CREATE TABLE copied AS SELECT * FROM installation")
        installation.world.execute("DELETE FROM installation; INSERT INTO installation SELECT * FROM copied")
    else:
        installation.world.execute(
            "UPDATE installation SET timeline = timeline + 1, server_started_at = '2026-01-01Z', "
            "written_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        )
    # Then nothing is sent before the identity is verified and Paystream's record compared
    [waiting] = installation.order(driver_id, 1, "new")
    assert installation.send([waiting]) == ["processing"]
    assert database_identity.verify_identity(installation.reconciler, ["sandbox"]) is OutboundGuard.RECONCILE_ONLY
    assert installation.send(installation.order(driver_id, 1, "later")) == ["queued"]
    with engine.begin() as connection, pytest.raises(Conflict, match="has not been compared"):
        database_identity.turn_off_reconcile_only(connection, "ann", "in a hurry", clock.now())
    wait = timedelta(seconds=10)
    assert not _compare_restored(installation, wait)
    clock.advance(seconds=11)
    assert _compare_restored(installation, wait)
    assert _load_guard(engine) is OutboundGuard.OPEN
    # and the payout requested again is put on hold, and another one is paid
    [again, other] = [*installation.order(driver_id, 1, "lost"), *installation.order(driver_id, 1, "other")]
    assert installation.send([again, other]) == ["queued", "processing"]
    [(reason,)] = installation.world.rows("SELECT held_reason FROM payouts WHERE id = :id", id=again)
    assert "missing in our records" in str(reason)


def test_reconcile_only_turned_on_by_an_operator_is_turned_off_by_one(installation: Installation) -> None:
    """Only after Paystream's record was compared; every organization's audit log has both entries."""
    clock, engine = installation.world.clock, installation.engine
    with engine.begin() as connection:
        database_identity.turn_on_reconcile_only(connection, "ann", "the backup was put back", clock.now())
    clock.advance(seconds=1)
    assert not _compare_restored(installation, timedelta(0))
    assert _load_guard(engine) is OutboundGuard.RECONCILE_ONLY
    with engine.begin() as connection:
        database_identity.turn_off_reconcile_only(connection, "bob", "compared, no case", clock.now())
    assert _load_guard(engine) is OutboundGuard.OPEN
    recorded = installation.world.rows(
        "SELECT after ->> 'by' FROM audit_entries WHERE action = 'installation.reconcile_only'"
    )
    assert sorted(recorded) == [("ann",), ("bob",)]


def _compare_restored(installation: Installation, wait: timedelta) -> bool:
    return after_restore.compare_restored_database(installation.reconciler, ["sandbox"], wait=wait, lease_seconds=30)


def _load_guard(engine: sa.Engine) -> OutboundGuard:
    with engine.connect() as connection:
        return load_outbound_guard(connection)
