"""Restore drill: an old backup is put back, clients repeat their requests, and no payout is paid twice.

Checked against Paystream's record. The backup is a copy of the files of the stopped server: cluster, timeline and
database identity are unchanged, so nothing in the database shows its age.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.platform.ids import PAYOUT, public_id
from tests.support import ledger
from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.long

SETTINGS = {
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1.0",
    "OVNPAY_LEASE_SECONDS": "2.5",
    "PAYSTREAM_SIM_FAULT_TIMEOUT_SECONDS": "1.2",
}

LONG_TIMEOUTS = {"OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "3.0", "OVNPAY_LEASE_SECONDS": "6"}
"""Reconcile-only lasts long enough to be observed."""


def test_restored_backup_pays_no_payout_twice(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with running_stack(home, keep=True, **SETTINGS) as stack:
        customer, paystream = _customer(stack), Simulator(stack["paystream"])
        customer.fund(1_000_000)
        driver = customer.verified_driver()["id"]
        # Given a paid payout, one that Paystream has without our knowing, and a batch without a scheduled time
        before = _pay(customer, driver, "before")
        customer.until_payout(before["id"], "completed")
        with paystream.misbehaving("timeout_after_accept", "<drill in flight>"):
            in_flight = _pay(customer, driver, "in flight")
            until(lambda: paystream.payments_described("<drill in flight>"), "Paystream has it")
        batch = customer.post("/api/v1/batches", _weekly(driver), "drill/batch").data
    # When the files are copied, the system continues, and then loses its database
    _copy_files(home / "postgres", tmp_path / "copy")
    with running_stack(home, keep=True, **SETTINGS) as stack:
        customer, paystream = _customer(stack), Simulator(stack["paystream"])
        customer.until_payout(in_flight["id"], "completed")
        lost = [_pay(customer, driver, f"lost {n}", urgency) for n, urgency in enumerate(("standard", "instant"))]
        customer.post(f"/api/v1/batches/{batch['id']}/release", {}, "drill/release").data  # noqa: B018
        for payout in lost:
            customer.until_payout(payout["id"], "completed")
        until(lambda: customer.get(f"/api/v1/batches/{batch['id']}").data["status"] == "completed", "the batch is paid")
        paid = _paid(paystream)
        assert paid == Counter(["before", "in flight", "lost 0", "lost 1", "batch 0", "batch 1"])
        missing = {one["id"] for one in paystream.payments() if re.search(r"<drill (lost|batch)", one["description"])}
    shutil.rmtree(home / "postgres")
    _copy_files(tmp_path / "copy", home / "postgres")
    with running_stack(home, **SETTINGS | LONG_TIMEOUTS) as stack:
        customer, paystream = _customer(stack), Simulator(stack["paystream"])
        # Then the system detects lost payments and stops outgoing money
        until(lambda: "installation.reconcile_only" in stack.logs(4_000), "the backup is detected")
        # and clients that repeat their requests under the same keys get 503
        assert set(_repeat(customer, driver, batch["id"])) <= {200, 503}
        assert _outgoing(stack) == "reconcile-only"
        until(lambda: _gauge(stack, "ovnpay_reconcile_only") == 1.0, "the gauge is set")
        until(lambda: _outgoing(stack) is None, "Paystream's record was compared", 25)
        assert "installation.money_may_leave" in stack.logs(4_000)
        until(
            lambda: set(_repeat(customer, driver, batch["id"])) == {200},
            "repeated requests are accepted",
            pause_seconds=0.5,
        )
        # and then all that is safe to send is sent; possible second payments are on hold
        customer.until_payout(in_flight["id"], "completed")
        until(lambda: _on_hold_count(stack) == 4, f"four wait for a person, not {_on_hold_count(stack)}")
        fresh = _pay(customer, driver, "after")
        customer.until_payout(fresh["id"], "completed")
        assert _paid(paystream) == paid + Counter(["after"])
        # and the cases name each payment that is missing in our record
        cases = [case for case in _cases(stack) if case["kind"] == "missing_here"]
        assert {case["payment_id"] for case in cases} == missing
        # When a person resolves them, then the ledger has each of them once
        for payout_id in {public_id(PAYOUT, uuid.UUID(case["payout_id"])) for case in cases}:
            done = _ovnpay(stack, "payouts", "resolve", payout_id, "--outcome", "paid", "--reason", "seen there")
            assert done.returncode == 0, done.stderr
            assert customer.payout(payout_id)["status"] == "completed"
        compared = _ovnpay(stack, "reconcile", "--mode", "sandbox")
        assert compared.returncode == 0, compared.stdout + compared.stderr
        assert _paid(paystream) == paid + Counter(["after"])
        ledger.assert_ledger_consistent(stack["database_url"])


def _customer(stack: Stack) -> Customer:
    return Customer(stack["gateway"], stack["sandbox_key"])


def _weekly(driver: str) -> dict[str, Any]:
    payouts = [
        {"driverId": driver, "amount": 3_000 + number, "description": f"<drill batch {number}>"} for number in range(2)
    ]
    return {"name": "Weekly", "payouts": payouts}


def _post(customer: Customer, driver: str, words: str, urgency: str = "standard") -> Any:
    body = {"driverId": driver, "amount": 4_500, "urgency": urgency, "description": f"<drill {words}>"}
    return customer.post("/api/v1/payouts", body, f"drill/{words}")


def _pay(customer: Customer, driver: str, words: str, urgency: str = "standard") -> Any:
    return _post(customer, driver, words, urgency).data


def _repeat(customer: Customer, driver: str, batch_id: str) -> list[int]:
    """Repeat all requests under their keys; return the statuses."""
    answers = [_post(customer, driver, words) for words in ("before", "in flight", "lost 0")]
    answers.append(_post(customer, driver, "lost 1", "instant"))
    answers.append(customer.post("/api/v1/batches", _weekly(driver), "drill/batch"))
    answers.append(customer.post(f"/api/v1/batches/{batch_id}/release", {}, "drill/release"))
    return [answer.status for answer in answers]


def _paid(paystream: Simulator) -> Counter[str]:
    """Count payments in Paystream's record by description."""
    return Counter(re.findall(r"<drill (.*)>", one["description"])[0] for one in paystream.payments())


def _copy_files(source: Path, target: Path) -> None:
    """Copy files with their owners."""
    shutil.copytree(source, target)
    for path in [source, *source.rglob("*")]:
        owner = path.stat()
        os.chown(target / path.relative_to(source), owner.st_uid, owner.st_gid)


def _outgoing(stack: Stack) -> str | None:
    found: str | None = call(stack["gateway"], "GET", "/health").data.get("outgoing")
    return found


def _on_hold_count(stack: Stack) -> int:
    with psycopg.connect(stack["database_url"]) as connection:
        row = connection.execute("SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


def _gauge(stack: Stack, name: str) -> float:
    with urllib.request.urlopen(stack["metrics"]["exporter"]) as answer:
        return float(re.findall(rf"(?m)^{name} (.*)$", answer.read().decode())[0])


def _cases(stack: Stack) -> list[Any]:
    listed = _ovnpay(stack, "reconcile", "cases", "--json")
    assert listed.returncode == 0, listed.stderr
    return [json.loads(line) for line in listed.stdout.splitlines()]


def _ovnpay(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator of the installation."""
    settings = {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
        "OVNPAY_PAYSTREAM_URL": stack["paystream"],
        "OVNPAY_PAYSTREAM_TEST_KEY": stack["paystream_keys"]["test"],
        "OVNPAY_PAYSTREAM_LIVE_KEY": stack["paystream_keys"]["live"],
        "OVNPAY_PAYSTREAM_REQUESTS_PER_HOUR": "0",
    }
    command = [sys.executable, "-m", "shared.cli", *arguments]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
