"""Crash scenarios of work that no request waits for: payouts, events and deliveries in workers, and the scheduler."""

import http.client
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.platform import task_queue
from shared.platform.task_queue import Task
from tests.acceptance.crash_scenarios import AMOUNT_CENTS, ENDS_SECONDS, CrashScenario
from tests.acceptance.crash_stack import CrashStack
from tests.support import ledger, provider_webhooks
from tests.support.http_client import Answer
from tests.support.polling import until


@dataclass
class QueuePayouts(CrashScenario):
    """Queue accepted payouts in a worker; only the scheduler enqueues them again."""

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
        self.assert_paid_once(stack, self.ids)


@dataclass
class SubmitPayouts(QueuePayouts):
    """Submit queued payouts in a worker, with all others of the wallet, after a kill right after queueing."""

    task: Task = task_queue.SUBMIT_PAYOUTS

    def before(self, stack: CrashStack) -> None:
        ids = [ledger.uuid_of(payout_id) for payout_id in self.ids]
        stack.kill_at("workers", "queue.after_commit", lambda: stack.enqueue(task_queue.QUEUE_PAYOUTS, ids))


@dataclass
class SubmitWithRejection(SubmitPayouts):
    """Submit a batch of which the provider rejects one payout: it is split, and one payout fails."""

    payouts: int = 2

    def order(self, number: int = 0, **more: object) -> dict[str, object]:
        refused = " [simulate:reject:BANK_REJECTED]" if number == 1 else ""
        return super().order(number, **more) | {"description": f"{self.tag} {number}{refused}"}

    def check(self, stack: CrashStack) -> None:
        stack.customer.until_payout(self.ids[0], "completed", ENDS_SECONDS)
        stack.customer.until_payout(self.ids[1], "failed", ENDS_SECONDS)
        assert len(stack.paystream.payments_described(self.tag)) == 1
        moved = ledger.transfers_of(stack.description["database_url"], self.ids[1])
        cents = AMOUNT_CENTS + 1
        assert moved == [("available", "in_transit", cents), ("in_transit", "available", cents)]


@dataclass
class SendInstantPayout(QueuePayouts):
    """Send an instant payout in a worker."""

    task: Task = task_queue.SEND_INSTANT_SUBMISSIONS
    more: dict[str, object] = field(default_factory=lambda: {"urgency": "instant"})

    def act(self, stack: CrashStack) -> None:
        ids = [ledger.uuid_of(payout_id) for payout_id in self.ids]
        rows = stack.rows("select submission_id from payouts where id = any(%s)", ids)
        stack.enqueue(self.task, [submission_id for (submission_id,) in rows])


@dataclass
class LookUpSubmission(SendInstantPayout):
    """Look up a submission whose key may have expired at the provider, after a kill right after the call."""

    settings: dict[str, str] = field(default_factory=lambda: {"OVNPAY_PAYSTREAM_KEY_LIFETIME_SECONDS": "603"})

    def before(self, stack: CrashStack) -> None:
        stack.kill_at("workers", "send.after_call", lambda: self.act(stack))
        stack.rows("update submissions set lease_expires_at = now() where lease_expires_at is not null")


@dataclass
class PaidAtProvider(QueuePayouts):
    """A payout that the provider has completed without a webhook."""

    def prepare(self, stack: CrashStack) -> None:
        self.ids = [stack.customer.post("/api/v1/payouts", self._lost()).data["id"]]
        until(lambda: self.payment(stack) is not None, f"the provider has completed {self.name}")

    def _lost(self) -> dict[str, object]:
        return self.order() | {"description": f"{self.tag} [simulate:lost_webhook]"}

    def wait(self, stack: CrashStack) -> None:
        """Nothing."""

    def payment(self, stack: CrashStack) -> Any:
        """Return the payment of the simulator once it is completed and our database has its id."""
        known = stack.rows(
            "select provider_payment_id from submission_items where payout_id = %s and provider_payment_id is not null",
            ledger.uuid_of(self.ids[0]),
        )
        found = stack.paystream.payments_described(self.tag)
        return found[0] if known and found and found[0]["status"] == "completed" else None


@dataclass
class PollPayout(PaidAtProvider):
    """Poll the payout in a worker."""

    task: Task = task_queue.POLL_PAYOUTS

    def repeat(self, stack: CrashStack) -> None:
        stack.rows("update payouts set next_action_at = now() where id = %s", ledger.uuid_of(self.ids[0]))


@dataclass
class ReceiveWebhook(PaidAtProvider):
    """Receive a webhook, which the provider repeats without a response."""

    event_id: str = field(default_factory=lambda: f"evt_{uuid.uuid4().hex}")

    def _send_webhook(self, stack: CrashStack) -> Answer:
        payment = self.payment(stack)
        data = {"paymentId": payment["id"], "amount": payment["amount"], "status": "completed"}
        event = {"id": self.event_id, "type": "payment.completed", "data": data}
        return provider_webhooks.send_signed(stack.customer.url, event, stack.description["webhook_secret"])

    def act(self, stack: CrashStack) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            self._send_webhook(stack)

    def repeat(self, stack: CrashStack) -> None:
        stack.repeat_until_answered(lambda: self._send_webhook(stack)).data  # noqa: B018

    def check(self, stack: CrashStack) -> None:
        super().check(stack)
        assert stack.rows("select count(*) from provider_events where event_key = %s", self.event_id) == [(1,)]


@dataclass
class ApplyEvent(ReceiveWebhook):
    """Apply a stored event in a worker."""

    def wait(self, stack: CrashStack) -> None:
        self._send_webhook(stack).data  # noqa: B018

    def act(self, stack: CrashStack) -> None:
        [(event_id,)] = stack.rows("select id from provider_events where event_key = %s", self.event_id)
        stack.enqueue(task_queue.APPLY_PROVIDER_EVENTS, [event_id])

    def repeat(self, stack: CrashStack) -> None:
        """Nothing: the provider got a response."""


@dataclass
class DeliverWebhook(CrashScenario):
    """Deliver a customer webhook at least once, always with the same id."""

    endpoint_id: str = ""
    event_id: str = ""
    requests_at: Callable[[str], list[Any]] = lambda path: []
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
        received = [one.headers["webhook-id"] for one in self.requests_at(self.path)]
        assert set(received) == {self.event_id}
        called_before = self.failpoint in ("deliver.after_call", "deliver.before_claim:2")
        again = self.failpoint == "deliver.after_call"
        assert len(received) == 1 + (called_before and again), received


@dataclass
class SchedulerTick(QueuePayouts):
    """Let the scheduler find payouts that were never enqueued."""

    def act(self, stack: CrashStack) -> None:
        with suppress(IndexError):
            stack.rows("update payouts set next_action_at = now() where id = %s", ledger.uuid_of(self.ids[0]))
