"""The stories of the crash points: what a service was at when it died, and how it has to end all the same.

Each has a name, which is in the descriptions of its payouts. `prepare` runs while all is well, `wait` while only the
gateway runs, so that what it asks for stays undone; `act` brings the victim to its end; `repeat` is the client or the
provider trying again, at a gateway that is back; `check` is the end, with everything back.
"""

import http.client
import json
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.platform import task_queue
from shared.platform.task_queue import Task
from tests.acceptance.crash_stack import CrashStack
from tests.support import ledger, provider_webhooks
from tests.support.http_client import Answer, call
from tests.support.polling import until

AMOUNT_CENTS = 20_000
ENDS_SECONDS = 45


@dataclass
class Story:
    """One death."""

    name: str
    service: str
    failpoint: str
    settings: dict[str, str] = field(default_factory=dict)
    driver_id: str = ""

    @property
    def tag(self) -> str:
        """What its payouts are described with."""
        return f"<{self.name}>"

    def prepare(self, stack: CrashStack) -> None:
        """While all is well."""

    def wait(self, stack: CrashStack) -> None:
        """While only the gateway runs."""

    def before(self, stack: CrashStack) -> None:
        """What has to befall somebody else first."""

    def act(self, stack: CrashStack) -> None:
        """Brings the victim to its end."""

    def repeat(self, stack: CrashStack) -> None:
        """Somebody tries again."""

    def check(self, stack: CrashStack) -> None:
        """How it has to end."""

    def order(self, number: int = 0, **more: object) -> dict[str, object]:
        """A payout's body."""
        return {
            "driverId": self.driver_id,
            "amount": AMOUNT_CENTS + number,
            "description": f"{self.tag} {number}",
            **more,
        }

    def paid_once(self, stack: CrashStack, payout_ids: Sequence[str]) -> None:
        """These payouts, and no others of this story, are completed and at the provider once each; their money has
        moved once, and the customer has heard of both.
        """
        assert payout_ids
        for payout_id in payout_ids:
            payout = stack.customer.until_payout(payout_id, "completed", ENDS_SECONDS)
            moved = ledger.transfers_of(stack.described["database_url"], payout_id)
            expected = ledger.transfers_of_completed(payout["amount"], payout["fee"])
            assert Counter(moved[-3:]) == Counter(expected), (payout_id, moved)
            assert len(moved) == 3 or payout["attempt"] > 1, moved
        shown = [stack.customer.payout(payout_id) for payout_id in payout_ids]
        made = stack.rows("select id from payouts where description like %s", f"{self.tag}%")
        assert len(made) == len(payout_ids), "a payout was accepted twice"
        payments = stack.paystream.payments_described(self.tag)
        assert Counter(one["amount"] for one in payments) == Counter(one["netAmount"] for one in shown)
        assert {one["status"] for one in payments} == {"completed"}

    def moved_back(self, stack: CrashStack, payout_id: str) -> None:
        """The payout was canceled: nobody was paid, and its money is available again."""
        moved = ledger.transfers_of(stack.described["database_url"], payout_id)
        assert moved == [("available", "in_transit", AMOUNT_CENTS), ("in_transit", "available", AMOUNT_CENTS)]
        assert stack.paystream.payments_described(self.tag) == []


@dataclass
class Asked(Story):
    """A client asks, and hears nothing; it asks again with the same key, and gets the right answer."""

    path: str = "/api/v1/payouts"
    method: str = "POST"
    answer: Any = None

    def body(self) -> Any:
        return self.order()

    def _ask(self, stack: CrashStack) -> Answer:
        text = json.dumps(self.body()).encode()
        key = {"Idempotency-Key": self.name} if self.method == "POST" else {}
        return call(stack.customer.url, self.method, self.path, text, stack.customer.headers | key)

    def act(self, stack: CrashStack) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            self._ask(stack)

    def repeat(self, stack: CrashStack) -> None:
        answer = stack.insist(lambda: self._ask(stack))
        if self.method == "POST":
            landed = not self.failpoint.endswith("before_commit")
            assert ("Idempotent-Replayed" in answer.headers) == landed, (self.name, answer)
        self.answer = answer.data

    def check(self, stack: CrashStack) -> None:
        self.paid_once(stack, [self.answer["id"]])


@dataclass
class AskedInstant(Asked):
    def body(self) -> Any:
        return self.order(urgency="instant")


@dataclass
class AskedInBulk(Asked):
    path: str = "/api/v1/payouts/bulk"

    def body(self) -> Any:
        return {"payouts": [self.order(number) for number in range(3)]}

    def check(self, stack: CrashStack) -> None:
        self.paid_once(stack, [one["item"]["id"] for one in self.answer["results"]])


@dataclass
class Canceled(Asked):
    """Canceling."""

    payout_id: str = ""

    def body(self) -> Any:
        return {}

    def wait(self, stack: CrashStack) -> None:
        self.payout_id = stack.customer.post("/api/v1/payouts", self.order()).data["id"]
        self.path = f"/api/v1/payouts/{self.payout_id}/cancel"

    def check(self, stack: CrashStack) -> None:
        assert (self.answer["id"], self.answer["status"]) == (self.payout_id, "canceled")
        assert stack.customer.payout(self.payout_id)["status"] == "canceled"
        self.moved_back(stack, self.payout_id)


@dataclass
class Retried(Canceled):
    """Retrying what Paystream had refused."""

    def prepare(self, stack: CrashStack) -> None:
        with stack.paystream.misbehaving("reject:BANK_REJECTED", self.tag):
            self.payout_id = stack.customer.post("/api/v1/payouts", self.order()).data["id"]
            stack.customer.until_payout(self.payout_id, "failed")
        self.path = f"/api/v1/payouts/{self.payout_id}/retry"

    def wait(self, stack: CrashStack) -> None:
        """Nothing more."""

    def check(self, stack: CrashStack) -> None:
        assert self.answer["attempt"] == 2
        self.paid_once(stack, [self.payout_id])


@dataclass
class Released(Asked):
    """Releasing a batch by hand."""

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
        self.paid_once(stack, [payout["id"] for payout in payouts])
        assert stack.customer.get(f"/api/v1/batches/{self.batch_id}").data["status"] == "completed"


@dataclass
class DueBatch(Released):
    """Releasing a batch whose time has come: a worker's work."""

    scheduled_seconds: float | None = 0.5

    def act(self, stack: CrashStack) -> None:
        is_due = "select scheduled_for <= clock_timestamp() from batches where id = %s"
        until(lambda: stack.rows(is_due, ledger.uuid_of(self.batch_id)) == [(True,)], "it is due", pause_seconds=0.02)
        stack.enqueue(task_queue.RELEASE_BATCHES, [ledger.uuid_of(self.batch_id)])

    def repeat(self, stack: CrashStack) -> None:
        """The tick sees to it."""


@dataclass
class Registered(Asked):
    """Registering a driver."""

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
class MadeKnown(Registered):
    """Making him known to Paystream: a worker's work."""

    def wait(self, stack: CrashStack) -> None:
        self.registered_id = self._ask(stack).data["id"]

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(task_queue.REGISTER_DRIVERS, [ledger.uuid_of(self.registered_id)])

    def repeat(self, stack: CrashStack) -> None:
        """The tick sees to it."""


@dataclass
class NewAccount(Registered):
    """Giving him another bank account."""

    method: str = "PUT"

    def prepare(self, stack: CrashStack) -> None:
        driver = stack.customer.register("Rita Driver", self.email)
        self.registered_id = stack.customer.until_verified(driver["id"])["id"]
        self.path = f"/api/v1/drivers/{self.registered_id}"

    def body(self) -> Any:
        return {"bankAccount": {"accountNumber": "000987654321", "routingNumber": "021000021"}}

    def check(self, stack: CrashStack) -> None:
        path = f"/api/v1/drivers/{self.registered_id}"
        until(lambda: stack.customer.get(path).data["bankAccountLast4"] == "4321", "Paystream has it", ENDS_SECONDS)
        super().check(stack)


@dataclass
class AccountPassedOn(NewAccount):
    """Passing it on: a worker's work."""

    def wait(self, stack: CrashStack) -> None:
        self._ask(stack).data  # noqa: B018

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(task_queue.REGISTER_DRIVERS, [ledger.uuid_of(self.registered_id)])

    def repeat(self, stack: CrashStack) -> None:
        """The tick sees to it."""


@dataclass
class ToppedUp(Asked):
    """Topping up. Its amount is its own, so that Paystream's record can be asked for it."""

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
class TopupAsked(ToppedUp):
    """Asking Paystream for it, and then after it: a worker's work."""

    settling: bool = False
    """Whether it is the second question, whether it has settled, that somebody dies over."""

    def wait(self, stack: CrashStack) -> None:
        self.answer = self._ask(stack).data

    def act(self, stack: CrashStack) -> None:
        topup = ledger.uuid_of(self.answer["transactionId"])
        stack.enqueue(task_queue.REQUEST_TOPUPS, [topup])
        if self.settling:
            asked = "select true from topups where id = %s and provider_id is not null"
            until(lambda: stack.rows(asked, topup), "Paystream was asked for it", pause_seconds=0.02)
            stack.enqueue(task_queue.REQUEST_TOPUPS, [topup])

    def repeat(self, stack: CrashStack) -> None:
        """The tick sees to it."""


@dataclass
class Worked(Story):
    """A worker dies over payouts that are accepted, and nobody is rung for again but by the tick."""

    task: Task = task_queue.QUEUE_PAYOUTS
    payouts: int = 1
    more: dict[str, object] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def wait(self, stack: CrashStack) -> None:
        orders = [self.order(number, **self.more) for number in range(self.payouts)]
        self.ids = [stack.customer.post("/api/v1/payouts", order).data["id"] for order in orders]

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(self.task, [ledger.uuid_of(payout_id) for payout_id in self.ids])

    def check(self, stack: CrashStack) -> None:
        self.paid_once(stack, self.ids)


@dataclass
class Submitted(Worked):
    """The same with payouts that are queued, for another worker died right after that. Whatever else of the wallet is
    queued goes with them.
    """

    task: Task = task_queue.SUBMIT_PAYOUTS

    def before(self, stack: CrashStack) -> None:
        ids = [ledger.uuid_of(payout_id) for payout_id in self.ids]
        stack.dies("workers", "queue.after_commit", lambda: stack.enqueue(task_queue.QUEUE_PAYOUTS, ids))


@dataclass
class OneRefused(Submitted):
    """The same with a batch at Paystream that it refuses: its halves go out alone, and one payout fails."""

    payouts: int = 2

    def order(self, number: int = 0, **more: object) -> dict[str, object]:
        refused = " [simulate:reject:BANK_REJECTED]" if number == 1 else ""
        return super().order(number, **more) | {"description": f"{self.tag} {number}{refused}"}

    def check(self, stack: CrashStack) -> None:
        stack.customer.until_payout(self.ids[0], "completed", ENDS_SECONDS)
        stack.customer.until_payout(self.ids[1], "failed", ENDS_SECONDS)
        assert len(stack.paystream.payments_described(self.tag)) == 1
        moved = ledger.transfers_of(stack.described["database_url"], self.ids[1])
        cents = AMOUNT_CENTS + 1
        assert moved == [("available", "in_transit", cents), ("in_transit", "available", cents)]


@dataclass
class Sent(Worked):
    """A worker dies over an instant payout's submission."""

    task: Task = task_queue.SEND_INSTANT_SUBMISSIONS
    more: dict[str, object] = field(default_factory=lambda: {"urgency": "instant"})

    def act(self, stack: CrashStack) -> None:
        ids = [ledger.uuid_of(payout_id) for payout_id in self.ids]
        rows = stack.rows("select submission_id from payouts where id = any(%s)", ids)
        stack.enqueue(self.task, [submission_id for (submission_id,) in rows])


@dataclass
class LookedUp(Sent):
    """The same again once its key may be forgotten: Paystream has it, and another worker dies over looking it up."""

    settings: dict[str, str] = field(default_factory=lambda: {"OVNPAY_PAYSTREAM_KEY_LIFETIME_SECONDS": "603"})

    def before(self, stack: CrashStack) -> None:
        stack.dies("workers", "send.after_call", lambda: self.act(stack))
        stack.rows("update submissions set lease_expires_at = now() where lease_expires_at is not null")


@dataclass
class AtPaystream(Worked):
    """Payouts that Paystream has paid, and that no webhook of its own will ever tell of."""

    def prepare(self, stack: CrashStack) -> None:
        self.ids = [stack.customer.post("/api/v1/payouts", self._lost()).data["id"]]
        until(lambda: self.payment(stack) is not None, f"{self.name} is at Paystream")

    def _lost(self) -> dict[str, object]:
        return self.order() | {"description": f"{self.tag} [simulate:lost_webhook]"}

    def wait(self, stack: CrashStack) -> None:
        """Nothing more."""

    def payment(self, stack: CrashStack) -> Any:
        """Paystream's own record of it, once we know of it too."""
        known = stack.rows(
            "select provider_payment_id from submission_items where payout_id = %s and provider_payment_id is not null",
            ledger.uuid_of(self.ids[0]),
        )
        found = stack.paystream.payments_described(self.tag)
        return found[0] if known and found and found[0]["status"] == "completed" else None


@dataclass
class Polled(AtPaystream):
    """A worker dies over asking for it."""

    task: Task = task_queue.POLL_PAYOUTS

    def repeat(self, stack: CrashStack) -> None:
        stack.rows("update payouts set next_action_at = now() where id = %s", ledger.uuid_of(self.ids[0]))


@dataclass
class Heard(AtPaystream):
    """The gateway dies over the provider's word; the provider, not answered, says it again."""

    event_id: str = field(default_factory=lambda: f"evt_{uuid.uuid4().hex}")

    def _tell(self, stack: CrashStack) -> Answer:
        payment = self.payment(stack)
        data = {"paymentId": payment["id"], "amount": payment["amount"], "status": "completed"}
        told = {"id": self.event_id, "type": "payment.completed", "data": data}
        return provider_webhooks.send_signed(stack.customer.url, told, stack.described["webhook_secret"])

    def act(self, stack: CrashStack) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            self._tell(stack)

    def repeat(self, stack: CrashStack) -> None:
        stack.insist(lambda: self._tell(stack)).data  # noqa: B018

    def check(self, stack: CrashStack) -> None:
        super().check(stack)
        assert stack.rows("select count(*) from provider_events where event_key = %s", self.event_id) == [(1,)]


@dataclass
class Applied(Heard):
    """A worker dies over it once it is stored."""

    def wait(self, stack: CrashStack) -> None:
        self._tell(stack).data  # noqa: B018

    def act(self, stack: CrashStack) -> None:
        [(event_id,)] = stack.rows("select id from provider_events where event_key = %s", self.event_id)
        stack.enqueue(task_queue.APPLY_PROVIDER_EVENTS, [event_id])

    def repeat(self, stack: CrashStack) -> None:
        """Paystream was answered."""


@dataclass
class Delivered(Story):
    """A worker dies over calling a customer; he hears it at least once, always with the same id."""

    endpoint_id: str = ""
    event_id: str = ""
    hears: Callable[[str], list[Any]] = lambda path: []
    url: str = ""

    @property
    def path(self) -> str:
        return f"/{self.name.replace(' ', '-')}"

    def wait(self, stack: CrashStack) -> None:
        body = {"url": self.url + self.path, "events": ["webhook.paused"]}
        self.endpoint_id = stack.customer.post("/api/v1/webhooks", body).data["id"]
        self.event_id = stack.customer.post(f"/api/v1/webhooks/{self.endpoint_id}/test", {}).data["id"]

    def act(self, stack: CrashStack) -> None:
        stack.enqueue(task_queue.DELIVER_CUSTOMER_EVENTS, [ledger.uuid_of(self.endpoint_id)])

    def check(self, stack: CrashStack) -> None:
        deliveries = f"/api/v1/webhooks/{self.endpoint_id}/deliveries"

        def delivered() -> bool:
            return [one["status"] for one in stack.customer.get(deliveries).data["items"]] == ["delivered"]

        until(delivered, f"{self.name} is delivered", ENDS_SECONDS)
        heard = [one.headers["webhook-id"] for one in self.hears(self.path)]
        assert set(heard) == {self.event_id}
        called_before = self.failpoint in ("deliver.after_call", "deliver.before_claim:2")
        again = self.failpoint == "deliver.after_call"
        assert len(heard) == 1 + (called_before and again), heard


@dataclass
class Ticked(Worked):
    """The scheduler dies over payouts that nobody was rung for."""

    def act(self, stack: CrashStack) -> None:
        with suppress(IndexError):
            stack.rows("update payouts set next_action_at = now() where id = %s", ledger.uuid_of(self.ids[0]))
