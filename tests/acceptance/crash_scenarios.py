"""Crash scenarios: what a service does when it is killed at a failpoint, and the state that has to result.

The name of a scenario is in the descriptions of its payouts. `prepare` runs on the whole system, `wait` while only the
gateway runs and its work stays undone, `act` drives the service to its failpoint, `repeat` is the retry of the client
or of the provider at the restarted gateway, and `check` asserts the final state of the restarted system.
"""

import http.client
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.platform import task_queue
from tests.acceptance.crash_stack import CrashStack
from tests.support import ledger
from tests.support.http_client import Answer, call
from tests.support.polling import until

AMOUNT_CENTS = 20_000
ENDS_SECONDS = 45


@dataclass
class CrashScenario:
    """One kill."""

    name: str
    service: str
    failpoint: str
    settings: dict[str, str] = field(default_factory=dict)
    driver_id: str = ""

    @property
    def tag(self) -> str:
        """The start of the descriptions of its payouts."""
        return f"<{self.name}>"

    def prepare(self, stack: CrashStack) -> None:
        """Set up on the whole system."""

    def wait(self, stack: CrashStack) -> None:
        """Set up while only the gateway runs."""

    def before(self, stack: CrashStack) -> None:
        """Kill another process first."""

    def act(self, stack: CrashStack) -> None:
        """Drive the service to its failpoint."""

    def repeat(self, stack: CrashStack) -> None:
        """Retry as the client or the provider."""

    def check(self, stack: CrashStack) -> None:
        """Assert the final state."""

    def order(self, number: int = 0, **more: object) -> dict[str, object]:
        """Return the body of a payout."""
        return {
            "driverId": self.driver_id,
            "amount": AMOUNT_CENTS + number,
            "description": f"{self.tag} {number}",
            **more,
        }

    def assert_paid_once(self, stack: CrashStack, payout_ids: Sequence[str]) -> None:
        """Assert that these payouts, and no others of this scenario, are completed and paid once."""
        assert payout_ids
        for payout_id in payout_ids:
            payout = stack.customer.until_payout(payout_id, "completed", ENDS_SECONDS)
            moved = ledger.transfers_of(stack.description["database_url"], payout_id)
            expected = ledger.transfers_of_completed(payout["amount"], payout["fee"])
            assert Counter(moved[-3:]) == Counter(expected), (payout_id, moved)
            assert len(moved) == 3 or payout["attempt"] > 1, moved
        shown = [stack.customer.payout(payout_id) for payout_id in payout_ids]
        made = stack.rows("select id from payouts where description like %s", f"{self.tag}%")
        assert len(made) == len(payout_ids), "a payout was accepted twice"
        payments = stack.paystream.payments_described(self.tag)
        assert Counter(one["amount"] for one in payments) == Counter(one["netAmount"] for one in shown)
        assert {one["status"] for one in payments} == {"completed"}

    def assert_released(self, stack: CrashStack, payout_id: str) -> None:
        """Assert that a canceled payout was not paid, and that its money is available."""
        moved = ledger.transfers_of(stack.description["database_url"], payout_id)
        assert moved == [("available", "in_transit", AMOUNT_CENTS), ("in_transit", "available", AMOUNT_CENTS)]
        assert stack.paystream.payments_described(self.tag) == []


@dataclass
class PostPayout(CrashScenario):
    """A request without a response, repeated with the same key."""

    path: str = "/api/v1/payouts"
    method: str = "POST"
    answer: Any = None

    def body(self) -> Any:
        return self.order()

    def _send(self, stack: CrashStack) -> Answer:
        text = json.dumps(self.body()).encode()
        key = {"Idempotency-Key": self.name} if self.method == "POST" else {}
        return call(stack.customer.url, self.method, self.path, text, stack.customer.headers | key)

    def act(self, stack: CrashStack) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            self._send(stack)

    def repeat(self, stack: CrashStack) -> None:
        answer = stack.repeat_until_answered(lambda: self._send(stack))
        if self.method == "POST":
            landed = not self.failpoint.endswith("before_commit")
            assert ("Idempotent-Replayed" in answer.headers) == landed, (self.name, answer)
        self.answer = answer.data

    def check(self, stack: CrashStack) -> None:
        self.assert_paid_once(stack, [self.answer["id"]])


@dataclass
class PostInstantPayout(PostPayout):
    def body(self) -> Any:
        return self.order(urgency="instant")


@dataclass
class PostBulkPayouts(PostPayout):
    path: str = "/api/v1/payouts/bulk"

    def body(self) -> Any:
        return {"payouts": [self.order(number) for number in range(3)]}

    def check(self, stack: CrashStack) -> None:
        self.assert_paid_once(stack, [one["item"]["id"] for one in self.answer["results"]])


@dataclass
class CancelPayout(PostPayout):
    """Cancel a payout."""

    payout_id: str = ""

    def body(self) -> Any:
        return {}

    def wait(self, stack: CrashStack) -> None:
        self.payout_id = stack.customer.post("/api/v1/payouts", self.order()).data["id"]
        self.path = f"/api/v1/payouts/{self.payout_id}/cancel"

    def check(self, stack: CrashStack) -> None:
        assert (self.answer["id"], self.answer["status"]) == (self.payout_id, "canceled")
        assert stack.customer.payout(self.payout_id)["status"] == "canceled"
        self.assert_released(stack, self.payout_id)


@dataclass
class RetryPayout(CancelPayout):
    """Retry a payout that the provider rejected."""

    def prepare(self, stack: CrashStack) -> None:
        with stack.paystream.misbehaving("reject:BANK_REJECTED", self.tag):
            self.payout_id = stack.customer.post("/api/v1/payouts", self.order()).data["id"]
            stack.customer.until_payout(self.payout_id, "failed")
        self.path = f"/api/v1/payouts/{self.payout_id}/retry"

    def wait(self, stack: CrashStack) -> None:
        """Nothing."""

    def check(self, stack: CrashStack) -> None:
        assert self.answer["attempt"] == 2
        self.assert_paid_once(stack, [self.payout_id])


@dataclass
class ReleaseBatch(PostPayout):
    """Release a batch by a request."""

    batch_id: str = ""
    scheduled_seconds: float | None = None

    def body(self) -> Any:
        return {}

    def wait(self, stack: CrashStack) -> None:
        payouts = [self.order(number) for number in range(2)]
        batch = {"name": self.name, "payouts": payouts}
        if self.scheduled_seconds is not None:
            due = datetime.now(UTC) + timedelta(seconds=self.scheduled_seconds)
            batch["scheduledFor"] = due.isoformat()
        self.batch_id = stack.customer.post("/api/v1/batches", batch).data["id"]
        self.path = f"/api/v1/batches/{self.batch_id}/release"

    def check(self, stack: CrashStack) -> None:
        payouts = stack.customer.get(f"/api/v1/batches/{self.batch_id}").data["payouts"]
        self.assert_paid_once(stack, [payout["id"] for payout in payouts])
        assert stack.customer.get(f"/api/v1/batches/{self.batch_id}").data["status"] == "completed"


@dataclass
class ReleaseDueBatch(ReleaseBatch):
    """Release a due batch in a worker."""

    scheduled_seconds: float | None = 0.5

    def act(self, stack: CrashStack) -> None:
        is_due = "select scheduled_for <= clock_timestamp() from batches where id = %s"
        until(lambda: stack.rows(is_due, ledger.uuid_of(self.batch_id)) == [(True,)], "it is due", pause_seconds=0.02)
        stack.enqueue(task_queue.RELEASE_BATCHES, [ledger.uuid_of(self.batch_id)])

    def repeat(self, stack: CrashStack) -> None:
        """Nothing: the scheduler enqueues it."""


@dataclass
class CreateDriver(PostPayout):
    """Create a driver."""

    path: str = "/api/v1/drivers"
    registered_id: str = ""

    @property
    def email(self) -> str:
        return f"{self.name.replace(' ', '.')}@drivers.example"

    def body(self) -> Any:
        return {"ovnDriverId": self.name, "name": "Rita Driver", "email": self.email, "phone": "+15551234567"}

    def repeat(self, stack: CrashStack) -> None:
        super().repeat(stack)
        self.registered_id = self.answer["id"]

    def check(self, stack: CrashStack) -> None:
        stack.customer.until_verified(self.registered_id)
        assert stack.rows("select count(*) from drivers where email = %s", self.email) == [(1,)]
        record = call(stack.paystream.url, "GET", "/control/record?mode=test&limit=1").body
        assert len([one for one in record["recipients"] if one["email"] == self.email]) == 1


@dataclass
class RegisterRecipient(CreateDriver):
    """Register the driver as a recipient, in a worker."""

    def wait(self, stack: CrashStack) -> None:
        self.registered_id = self._send(stack).data["id"]

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(task_queue.REGISTER_DRIVERS, [ledger.uuid_of(self.registered_id)])

    def repeat(self, stack: CrashStack) -> None:
        """Nothing: the scheduler enqueues it."""


@dataclass
class ReplaceBankAccount(CreateDriver):
    """Replace the driver's bank account."""

    method: str = "PUT"

    def prepare(self, stack: CrashStack) -> None:
        driver = stack.customer.register("Rita Driver", self.email)
        self.registered_id = stack.customer.until_verified(driver["id"])["id"]
        self.path = f"/api/v1/drivers/{self.registered_id}"

    def body(self) -> Any:
        return {"bankAccount": {"accountNumber": "000987654321", "routingNumber": "021000021"}}

    def check(self, stack: CrashStack) -> None:
        path = f"/api/v1/drivers/{self.registered_id}"
        until(
            lambda: stack.customer.get(path).data["bankAccountLast4"] == "4321",
            "the provider has the account",
            ENDS_SECONDS,
        )
        super().check(stack)


@dataclass
class SendBankAccount(ReplaceBankAccount):
    """Send the bank account to the provider, in a worker."""

    def wait(self, stack: CrashStack) -> None:
        self._send(stack).data  # noqa: B018

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(task_queue.REGISTER_DRIVERS, [ledger.uuid_of(self.registered_id)])

    def repeat(self, stack: CrashStack) -> None:
        """Nothing: the scheduler enqueues it."""


@dataclass
class TopUp(PostPayout):
    """Top up, by an amount that no other scenario uses."""

    path: str = "/api/v1/funding/topup"

    @property
    def cents(self) -> int:
        return 1_000_000 + zlib.crc32(self.name.encode()) % 900_000

    def body(self) -> Any:
        return {"amount": self.cents, "method": "rtp"}

    def check(self, stack: CrashStack) -> None:
        topup = ledger.uuid_of(self.answer["transactionId"])

        def settled() -> bool:
            return stack.rows("select status from topups where id = %s", topup) == [("settled",)]

        until(settled, f"the top-up of {self.name} has settled", ENDS_SECONDS)
        assert stack.rows("select count(*) from topups where amount_cents = %s", self.cents) == [(1,)]
        moved = stack.rows("select kind from transfers where topup_id = %s order by position", topup)
        assert moved == [("topup",), ("topup_settle",)]
        record = call(stack.paystream.url, "GET", "/control/record?mode=test&limit=1").body
        assert len([one for one in record["topups"] if one["amount"] == self.cents]) == 1


@dataclass
class RequestTopUp(TopUp):
    """Request the top-up from the provider, then its status, in a worker."""

    settling: bool = False
    """Whether the kill is at the status request."""

    def wait(self, stack: CrashStack) -> None:
        self.answer = self._send(stack).data

    def act(self, stack: CrashStack) -> None:
        topup = ledger.uuid_of(self.answer["transactionId"])
        stack.enqueue(task_queue.REQUEST_TOPUPS, [topup])
        if self.settling:
            is_requested = "select true from topups where id = %s and provider_id is not null"
            until(lambda: stack.rows(is_requested, topup), "the top-up is requested", pause_seconds=0.02)
            stack.enqueue(task_queue.REQUEST_TOPUPS, [topup])

    def repeat(self, stack: CrashStack) -> None:
        """Nothing: the scheduler enqueues it."""
