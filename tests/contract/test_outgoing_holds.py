"""A pause on the running system: what is held does not leave within two seconds, and leaves once when it is resumed."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack


def ovnpay(stack: Stack, *arguments: str) -> str:
    """What a command of the operator prints."""
    environment = os.environ | {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
    }
    command = [sys.executable, "-m", "shared.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_paused_wallet_accepts_and_releases_and_pays_once_when_resumed(
    fast_stack: Stack, organization: Organization
) -> None:
    # Given a wallet that is paused
    customer, paystream = organization.sandbox(), Simulator(fast_stack["paystream"])
    customer.fund(1_000_000)
    driver, text = customer.verified_driver("Hanna Held")["id"], f"held {uuid.uuid4().hex}"
    scope = ("--organization", organization.name, "--mode", "sandbox")
    ovnpay(fast_stack, "pause", *scope, "--reason", "a test")
    # When payouts are asked for, and a batch whose time comes in a moment
    payout = {"driverId": driver, "amount": 5_000, "description": text}
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    new = {"name": "Soon", "payouts": [payout, payout], "scheduledFor": soon}
    batch = customer.post("/api/v1/batches", new).data
    instant = customer.post("/api/v1/payouts/instant", payout | {"requestedBy": "driver"}).data
    single = customer.post("/api/v1/payouts", payout).data
    # Then they are accepted as ever, an instant one as `processing`; the batch is released
    customer.until_payout(single["id"], "queued")
    until(
        lambda: customer.get(f"/api/v1/batches/{batch['id']}").data["status"] == "processing", "the batch is released"
    )
    shown: list[Any] = customer.get(f"/api/v1/batches/{batch['id']}").data["payouts"]
    for one in (instant["id"], single["id"], shown[0]["id"]):
        expected = customer.get(f"/api/v1/payouts/{one}/timeline").data["next"]["expected"]
        assert expected.startswith("On hold: outgoing payments are paused")
    assert (instant["status"], single["status"]) == ("processing", "validated")
    # And nothing of it has left
    assert paystream.payments_described(text) == []
    # When it is resumed, then each is paid, once
    ovnpay(fast_stack, "resume", *scope)
    for one in (instant["id"], single["id"], *(each["id"] for each in shown)):
        customer.until_payout(one, "completed")
    assert len(paystream.payments_described(text)) == 4
    # And the books are right
    assert '"holds": true' in ovnpay(fast_stack, "verify", "--organization", organization.name, "--json")
