"""The whole payout system against a model of a hundred lines, step by step, with a fake provider.

A state machine requests payouts, batches, retries and top-ups; delivers tasks twice, late, in any order or never; lets
the provider time out, reject, pay and contradict itself; stops workers in the middle of a call and continues them after
their lease; and delivers webhooks in any order. After each step balances, statuses and the provider's record must match
the model, and the ledger must be consistent.

CI draws the same examples each time; `make model` draws others, and prints how to repeat a failure.

"""

import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.intake.payout_requests import IntakeResponse, PayoutRequest
from gateway.intake.payouts import PayoutIntake
from gateway.intake.provider_webhooks import WebhookIntake
from scheduler.jobs import Jobs
from shared import inbox
from shared.batches.cancel import cancel_queued_batches
from shared.batches.create import NewBatch, insert_batch
from shared.batches.release import release_queued_batches
from shared.batches.rows import BatchRef
from shared.funding import topups as funding
from shared.payouts import cancel, lifecycle, retry
from shared.payouts.orders import load_order_context
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform.clock import SystemClock
from shared.platform.database import make_engine
from shared.platform.errors import DomainError
from shared.platform.ids import PAYOUT, SUBMISSION, new_id, parse_id, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import (
    APPLY_PROVIDER_EVENTS,
    POLL_PAYOUTS,
    QUEUE_PAYOUTS,
    RELEASE_BATCHES,
    REQUEST_TOPUPS,
    SUBMIT_PAYOUTS,
    Task,
)
from shared.provider.outcomes import Accepted, CallOutcome, Rejected
from shared.provider.wire import ProviderCall
from shared.schema import migrations
from shared.schema.payouts import PayoutStatus, Rail
from tests.integration.fake_provider import BEHAVIORS, FakePayment, FakeProvider, WorkerDied
from tests.integration.payout_model import ENDS, OPEN, Model
from tests.support.world import GRACE, World
from workers import batches, payouts, submissions, topups
from workers import provider_events as events
from workers.context import Context

MAKE_DUE = (
    """UPDATE batches SET scheduled_for = now(), next_action_at = now()
       WHERE wallet_id = :wallet_id AND status = 'queued' AND scheduled_for > now()""",
    *(
        f"UPDATE {table} SET next_action_at = now() WHERE wallet_id = :wallet_id AND next_action_at IS NOT NULL"
        for table in ("batches", "payouts")
    ),
    *(
        f"""UPDATE {table} SET next_action_at = now(), lease_expires_at = now() - interval '1 s'
            WHERE wallet_id = :wallet_id AND next_action_at IS NOT NULL"""
        for table in ("submissions", "topups")
    ),
    "UPDATE provider_events SET next_action_at = now() WHERE next_action_at IS NOT NULL",
)
PAYMENT_STEPS = {("processing", "completed"), ("processing", "failed"), ("completed", "returned")}
AMOUNTS = st.sampled_from([1_000, 40_000, 60_000, 400_000, 2_000_000])
BEHAVIOR_LISTS = st.lists(st.sampled_from(BEHAVIORS), min_size=1, max_size=6)
INDEXES = st.integers(0, 1_000_000)
"""Picks one of a list, modulo its length."""
ACTORS = batches.ACTORS | payouts.ACTORS | submissions.ACTORS | events.ACTORS | topups.ACTORS
FINAL_ROUNDS = 12
LONG = os.environ.get("OVNPAY_TEST_MODEL_EXAMPLES")
CI = settings(
    stateful_step_count=50,
    derandomize=not LONG,
    database=None,
    deadline=None,
    print_blob=bool(LONG),
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


class FakeTaskSender:
    """Tasks that are enqueued and not received yet."""

    def __init__(self) -> None:
        self.enqueued: list[tuple[Task, list[uuid.UUID]]] = []

    def enqueue(self, task: Task, ids: list[uuid.UUID]) -> None:
        if ids:
            self.enqueued.append((task, list(ids)))

    def message_count(self, queue_name: str) -> int:
        return 0


class PendingWebhook:
    """A webhook on its way, and whether it is true."""

    def __init__(self, payment: FakePayment, state: str, *, is_true: bool = True) -> None:
        data = {"paymentId": payment.id, "amount": payment.amount + (not is_true), "status": state}
        content = {"id": f"evt_{uuid.uuid4().hex}", "type": f"payment.{state}", "data": data}
        self.body, self.payment, self.state, self.is_true = json.dumps(content).encode(), payment.id, state, is_true
        self.stored = False


class Payouts(RuleBasedStateMachine):
    """One wallet and everything that can happen to it."""

    engine: sa.Engine
    configured: Settings

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.tasks, self.provider = SystemClock(), FakeTaskSender(), FakeProvider()
        self.world = World(self.engine)
        self.driver_id = self.world.driver()
        self.wallet_id, self.model = self.world.wallet_id, Model(available=10_000_000)
        context: Any = (self.configured, self.engine, self.tasks, self.provider, self.clock)
        self.context = Context(*context)
        given: Any = (self.configured, self.engine, self.tasks, self.clock)
        self.intake, self.webhook_intake, self.jobs = PayoutIntake(*given), WebhookIntake(*given), Jobs(*given)
        self.requests: list[tuple[PayoutRequest, IntakeResponse]] = []
        self.outbox: list[PendingWebhook] = []
        self.inbox: dict[uuid.UUID, tuple[PendingWebhook, str]] = {}
        """Stored webhooks that are not applied: `received`, or `orphan`."""
        self.stalled: list[tuple[LeasedSubmission, CallOutcome]] = []
        self.lease_tokens: dict[str, object] = {}
        """The token of each provider key's latest lease; None once its response is recorded."""
        self.decided: dict[str, str] = {}
        """The definite response of each key, once the worker with the lease has recorded it."""
        self.topups: dict[uuid.UUID, int] = {}
        """Pending top-ups, in cents."""
        self.credited_cents = 0
        self.falsely_reported: set[uuid.UUID] = set()
        """Payouts with a false webhook, for instance `failed`, perhaps followed by a retry."""

    # Customers

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=4), rail=st.sampled_from(["standard", "standard", "instant"]))
    def request_payouts(self, amounts: list[int], rail: str) -> None:
        """One or several in bulk, with a new idempotency key."""
        amounts = [min(amount, 900_000) for amount in amounts] if rail == "instant" else amounts
        orders = [self.world.order(self.driver_id, amount, Rail(rail)) for amount in amounts]
        key = uuid.uuid4().hex
        request = PayoutRequest(
            self.wallet_id, orders, key, key.encode(), str(uuid.uuid4()), self._shape, self.world.actor
        )
        [answer] = self.intake.flush([request])
        assert isinstance(answer, IntakeResponse)
        expected = [self.model.accept(order.id, rail, order.amount_cents) for order in orders]
        assert json.loads(answer.body)["data"]["accepted"] == expected
        self.requests.append((request, answer))

    @staticmethod
    def _shape(outcomes: Any) -> dict[str, Any]:
        return {"accepted": [not isinstance(one, DomainError) for one in outcomes]}

    @precondition(lambda self: self.requests)
    @rule(index=INDEXES, same=st.booleans(), times=st.integers(1, 2))
    def repeat_request(self, index: int, same: bool, times: int) -> None:
        """With the same key: the same response, or a conflict if it is another request."""
        first, answer = self.requests[index % len(self.requests)]
        again = first._replace(
            orders=[order._replace(id=new_id()) for order in first.orders],
            fingerprint=first.fingerprint if same else b"another",
        )
        for repeated in self.intake.flush([again] * times):
            assert isinstance(repeated, IntakeResponse)
            assert (repeated.status, repeated.replayed) == ((200, True) if same else (422, False))
            assert not same or repeated.body == answer.body

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=4), scheduled=st.booleans())
    def create_batch(self, amounts: list[int], scheduled: bool) -> None:
        batch_id = new_id()
        orders = [self.world.order(self.driver_id, amount)._replace(batch_id=batch_id) for amount in amounts]
        when = datetime.now(UTC) + timedelta(days=1) if scheduled else None
        new = NewBatch(batch_id, self.wallet_id, "Weekly", Rail.STANDARD, when, orders)
        self._change(
            lambda connection: insert_batch(connection, new, load_order_context(connection, orders), self.clock.now())
        )
        self.model.hand_in(batch_id, {one.id: one.amount_cents for one in orders}, scheduled=scheduled)

    @precondition(lambda self: self.model.batches)
    @rule(index=INDEXES, off=st.integers(0, 3))
    def release_or_cancel_batch(self, index: int, off: int) -> None:
        batch_id = list(self.model.batches)[index % len(self.model.batches)]
        if off == 0:
            self._cancel_batch(batch_id)
            return
        by = {self.wallet_id: self.world.actor}
        done = self._change(
            lambda connection: release_queued_batches(
                connection, [BatchRef(batch_id, self.wallet_id)], self.clock.now(), by=by, grace=GRACE
            )
        )[batch_id]
        assert isinstance(done, DomainError) != self.model.release(batch_id)
        self.tasks.enqueue(SUBMIT_PAYOUTS, [] if isinstance(done, DomainError) else done.payout_ids)

    def _cancel_batch(self, batch_id: uuid.UUID) -> None:
        status = self.model.batch_status(batch_id)
        batch = self.model.batches[batch_id]
        done = self._change(
            lambda connection: cancel_queued_batches(connection, [BatchRef(batch_id, self.wallet_id)], self.clock.now())
        )[batch_id]
        assert isinstance(done, DomainError) != (status == "queued" or (status == "failed" and batch.refused))
        if not isinstance(done, DomainError):
            for payout_id in batch.payouts:
                self.model.cancel(payout_id)

    @precondition(lambda self: self.model.payouts)
    @rule(index=INDEXES)
    def cancel_payout(self, index: int) -> None:
        payout_id = list(self.model.payouts)[index % len(self.model.payouts)]
        done = self._change(
            lambda connection: cancel.cancel_wallet_payouts(connection, self.wallet_id, [payout_id], self.clock.now())
        )[payout_id]
        assert isinstance(done, DomainError) != self.model.cancel(payout_id)

    @precondition(lambda self: any(payout.status == "failed" for payout in self.model.payouts.values()))
    @rule(index=INDEXES)
    def retry_failed_payouts(self, index: int) -> None:
        """All failed payouts, and one that may not have failed."""
        failed = [one for one, payout in self.model.payouts.items() if payout.status == "failed"]
        asked = list(dict.fromkeys([*failed, list(self.model.payouts)[index % len(self.model.payouts)]]))
        done = self._change(
            lambda connection: retry.retry_wallet_payouts(
                connection, self.wallet_id, asked, self.clock.now(), grace=GRACE
            )
        )
        retried = [one for one in asked if self.model.retry(one)]
        assert [one for one in asked if not isinstance(done[one], DomainError)] == retried
        self.tasks.enqueue(SUBMIT_PAYOUTS, retried)

    @rule(amount=AMOUNTS)
    def top_up(self, amount: int) -> None:
        made = self._change(
            lambda connection: funding.request_topup(
                connection, self.wallet_id, amount, "rtp", "", self.clock.now(), grace=GRACE
            )
        )
        self.topups[made.id], self.model.pending = amount, self.model.pending + amount
        self.tasks.enqueue(REQUEST_TOPUPS, [made.id])

    # Tasks

    @precondition(lambda self: self.tasks.enqueued)
    @rule(index=INDEXES, fate=st.sampled_from(["delivered", "delivered twice", "lost"]), behaviors=BEHAVIOR_LISTS)
    def deliver_task(self, index: int, fate: str, behaviors: list[str]) -> None:
        """In any order; a task delivered twice is delivered again later."""
        enqueued = self.tasks.enqueued
        chosen = index % len(enqueued)
        task, ids = enqueued[chosen] if fate == "delivered twice" else enqueued.pop(chosen)
        if fate != "lost":
            self._work(task, ids, behaviors)

    @rule(behaviors=BEHAVIOR_LISTS, backwards=st.booleans(), due=st.booleans())
    def run_enqueued_tasks(self, behaviors: list[str], backwards: bool, due: bool) -> None:
        """Run all enqueued tasks, and those that they enqueue."""
        if due:
            self.make_all_due(lose_tasks=True)
        for _ in range(3):
            enqueued, self.tasks.enqueued = self.tasks.enqueued, []
            for task, ids in reversed(enqueued) if backwards else enqueued:
                self._work(task, ids, behaviors)
                behaviors = self.provider.behaviors  # the rest

    @rule(lose_tasks=st.booleans())
    def make_all_due(self, lose_tasks: bool) -> None:
        """Everything is due and every lease expired; the scheduler enqueues it."""
        if lose_tasks:
            self.tasks.enqueued.clear()
        for statement in MAKE_DUE:
            self.world.execute(statement, wallet_id=self.wallet_id)
        for batch in self.model.batches.values():
            batch.due |= batch.scheduled and not batch.released
        self.jobs.tick()
        self.jobs.release_batches()

    # Provider

    @precondition(lambda self: self.provider.payments)
    @rule(
        states=st.lists(st.sampled_from(("completed", "completed", "failed", "returned", "")), min_size=1, max_size=4)
    )
    def provider_advances_payments(self, states: list[str]) -> None:
        """Payments end or are returned, the latest first."""
        for payment, state in zip(reversed(list(self.provider.payments.values())), itertools.cycle(states)):
            if (payment.states[-1], state) in PAYMENT_STEPS:
                payment.states.append(state)
                self.outbox += [PendingWebhook(payment, "processing"), PendingWebhook(payment, state)]

    @precondition(lambda self: self.provider.payments)
    @rule(index=INDEXES, state=st.sampled_from(("completed", "failed", "returned")), amount_is_correct=st.booleans())
    def provider_sends_false_webhook(self, index: int, state: str, amount_is_correct: bool) -> None:
        payments = list(self.provider.payments.values())
        earlier = [one for one in payments if self.model.payouts[one.payout_id].attempt > 1]
        among = earlier or payments
        payment = among[index % len(among)]
        self.outbox.append(PendingWebhook(payment, state, is_true=amount_is_correct))
        self.falsely_reported.add(payment.payout_id)

    @precondition(lambda self: self.outbox)
    @rule(chance=st.randoms(use_true_random=False), share=st.sampled_from([1, 1, 2]))
    def deliver_webhooks(self, chance: Any, share: int) -> None:
        """All or half of them, in any order; then they are applied."""
        chance.shuffle(self.outbox)
        for _ in range(len(self.outbox) // share):
            self.deliver_webhook(index=0, fate="once")
        for task, ids in [one for one in self.tasks.enqueued if one[0] == APPLY_PROVIDER_EVENTS]:
            self._work(task, ids, [])

    @precondition(lambda self: self.outbox)
    @rule(index=INDEXES, fate=st.sampled_from(["once", "once", "once and again later", "twice", "lost"]))
    def deliver_webhook(self, index: int, fate: str) -> None:
        webhook = self.outbox[index % len(self.outbox)]
        if fate != "once and again later":
            self.outbox.remove(webhook)
        if fate == "lost":
            return
        notices = [inbox.parse_notification(webhook.body) for _ in range(2 if fate == "twice" else 1)]
        self.webhook_intake.flush(notices)
        if not webhook.stored and (webhook.state in ENDS or webhook.payment not in self.model.payments):
            self.inbox[notices[0].id] = (webhook, "received")
        webhook.stored = True

    @precondition(lambda self: any(not made.get("credited_at") for made in self.provider.topups.values()))
    @rule()
    def provider_credits_topups(self) -> None:
        for made in self.provider.topups.values():
            made.setdefault("credited_at", datetime.now(UTC))

    # Stalled workers

    @precondition(lambda self: any(payout.status == "processing" for payout in self.model.payouts.values()))
    @rule(behavior=st.sampled_from(("succeed", "reject", "time out")), replaced=st.booleans())
    def worker_stalls(self, behavior: str, replaced: bool) -> None:
        """Lease submissions and call the provider without recording a response; the next worker may do the same."""
        unfinished = (
            "SELECT id FROM submissions WHERE wallet_id = :id AND status IN ('prepared', 'unknown') ORDER BY id"
        )
        ids = [uuid.UUID(str(row[0])) for row in self.world.rows(unfinished, id=self.wallet_id)]
        for _ in range(1 + replaced):
            for leased in self._change(lambda connection: claim_submissions(connection, ids, lease_seconds=60)):
                self.provider.behaviors = [behavior]
                self.stalled.append((leased, self.provider.call(leased.call())))
                self._record_call(*self.provider.called.pop(), leased.token)
            if replaced:
                over = (
                    "UPDATE submissions SET lease_expires_at = now() WHERE id = ANY(:ids) AND lease_token IS NOT NULL"
                )
                self.world.execute(over, ids=ids)

    @precondition(lambda self: self.stalled)
    @rule(latest_first=st.booleans())
    def stalled_workers_continue(self, latest_first: bool) -> None:
        """One after the other, whichever worker has the lease by then."""
        while self.stalled:
            leased, outcome = self.stalled.pop(-1 if latest_first else 0)
            submissions._record(self.context, leased, outcome)
            key = leased.call().idempotency_key
            assert key is not None
            self._record_response(key, leased.token, outcome)
            self.balances_and_statuses_match_the_model()

    # Updating the model

    def _change(self, work: Callable[[sa.Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return work(connection)

    def _credit_settled_topups(self) -> None:
        """A top-up is credited once the provider has credited it, and in its amount."""
        rows = self.world.rows("SELECT id FROM topups WHERE wallet_id = :id AND status = 'settled'", id=self.wallet_id)
        credited = sum(made["amount"] for made in self.provider.topups.values() if "credited_at" in made)
        for topup_id in {uuid.UUID(str(row[0])) for row in rows} & self.topups.keys():
            amount = self.topups.pop(topup_id)
            self.model.pending, self.model.available = self.model.pending - amount, self.model.available + amount
            self.credited_cents += amount
        assert self.credited_cents <= credited

    def _work(self, task: Task, ids: list[uuid.UUID], behaviors: list[str]) -> None:
        # A task before this one may have credited a top-up: a batch that was not covered then is covered now.
        self._credit_settled_topups()
        self.provider.behaviors, self.provider.called = list(behaviors), []
        before = len(self.tasks.enqueued)
        if task == QUEUE_PAYOUTS:
            self.model.queue(ids)
        elif task == SUBMIT_PAYOUTS:
            self.model.submit(ids)
        elif task == RELEASE_BATCHES:
            for batch_id in sorted(ids):
                batch = self.model.batches[batch_id]
                if batch.due and not batch.refused:
                    self.model.release(batch_id)
        elif task == APPLY_PROVIDER_EVENTS:
            self._apply_webhooks(ids)
        with suppress(WorkerDied):
            ACTORS[task](self.context, ids)
        assert len(self.tasks.enqueued) >= before
        died = any(outcome is None for _, outcome in self.provider.called)
        for call, outcome in self.provider.called:
            # Polls are recorded together, submissions one by one: if the worker dies, only the latter count.
            self._record_call(call, None if died and task == POLL_PAYOUTS else outcome, token := object())
            if outcome is not None and call.idempotency_key is not None and call.path != "/balance/topup":
                self._record_response(call.idempotency_key, token, outcome)

    def _apply_webhooks(self, ids: list[uuid.UUID]) -> None:
        for event_id in sorted(one for one in set(ids) if one in self.inbox):
            webhook, _ = self.inbox.pop(event_id)
            if not self.model.apply_update(webhook.payment, webhook.state, is_true=webhook.is_true):
                self.inbox[event_id] = (webhook, "orphan")

    def _record_call(self, call: ProviderCall, outcome: CallOutcome | None, token: object) -> None:
        """Tell the model what the provider was asked."""
        if call.path.startswith("/payments/"):
            if isinstance(outcome, Accepted):
                self.model.apply_update(outcome.data["id"], outcome.data["status"])
        elif call.path == "/balance/topup":
            if isinstance(outcome, Rejected):
                self.model.pending -= call.body["amount"]
                self.topups.pop(uuid.UUID(hex=str(call.idempotency_key).removeprefix("topup-")))
        elif call.idempotency_key is not None:
            self.lease_tokens[call.idempotency_key] = token
            for payout_id in _payouts_in(call):
                self.model.payouts[payout_id].submission = call.idempotency_key

    def _record_response(self, key: str, token: object, outcome: CallOutcome) -> None:
        """A recorded response counts only from the worker with the lease."""
        if self.lease_tokens.get(key) is not token:
            return
        if isinstance(outcome, Accepted):
            self.decided[key] = "accepted"
            for one in outcome.data.get("payments", [outcome.data]):
                payout_id = self.provider.payments[one["id"]].payout_id
                self.model.payments[one["id"]] = (payout_id, self.model.payouts[payout_id].attempt)
        if isinstance(outcome, Rejected):
            self.decided[key] = "rejected"
            self.model.reject(key)
        self.lease_tokens[key] = None

    # Invariants

    @invariant()
    def balances_and_statuses_match_the_model(self) -> None:
        self._credit_settled_topups()
        model = self.model
        expected_cents = (model.available, model.in_transit, model.pending, model.fees)
        assert self.world.balances()[:4] == expected_cents
        rows = self.world.rows(
            "SELECT id, status, attempt, held_reason IS NOT NULL, reserved, fee_cents FROM payouts"
            " WHERE wallet_id = :id",
            id=self.wallet_id,
        )
        expected = {
            payout_id: (one.status, one.attempt, one.on_hold, one.reserved, one.fee)
            for payout_id, one in model.payouts.items()
        }
        assert {row[0]: row[1:] for row in rows if row[0]} == expected
        statement = "SELECT id, status FROM submissions WHERE wallet_id = :id AND status IN ('accepted', 'rejected')"
        decided = self.world.rows(statement, id=self.wallet_id)
        assert {public_id(SUBMISSION, uuid.UUID(str(row[0]))): row[1] for row in decided} == self.decided
        found_batches = dict(self.world.rows("SELECT id, status FROM batches WHERE wallet_id = :id", id=self.wallet_id))
        assert found_batches.keys() == model.batches.keys()
        wrong = {
            one: (status, model.may_be(one)) for one, status in found_batches.items() if status not in model.may_be(one)
        }
        assert wrong == {}

    @invariant()
    def no_payout_is_paid_twice(self) -> None:
        """By the provider's record: at most one payment per attempt, and another only after the first has failed."""
        made: dict[uuid.UUID, list[FakePayment]] = {}
        for payment in self.provider.payments.values():
            made.setdefault(payment.payout_id, []).append(payment)
        for payout_id, payments in made.items():
            payout = self.model.payouts[payout_id]
            assert len(payments) <= payout.attempt
            assert {one.amount for one in payments} == {payout.amount - payout.fee}
            good = [one for one in payments if one.states[-1] != "failed"]
            assert len(good) <= 1 or payout.on_hold or payout_id in self.falsely_reported

    def teardown(self) -> None:
        """All webhooks arrive and no worker dies: every payout ends, and the ledger is consistent."""
        self.outbox = [webhook for webhook in self.outbox if webhook.is_true]
        self.stalled.clear()
        for _ in range(FINAL_ROUNDS):
            if not any(payout.reserved and not payout.on_hold for payout in self.model.payouts.values()):
                break
            for payment in self.provider.payments.values():
                if payment.states[-1] == "processing":
                    payment.states.append("completed")
            self.make_all_due(lose_tasks=True)
            while self.tasks.enqueued:
                self._work(*self.tasks.enqueued.pop(0), behaviors=[])
        self.balances_and_statuses_match_the_model()
        self.no_payout_is_paid_twice()
        for payout in self.model.payouts.values():
            waits = payout.batch is not None and not self.model.batches[payout.batch].released
            assert payout.on_hold or waits or payout.status not in OPEN, payout
        self.world.assert_ledger_consistent()
        self.world.assert_counters_match()
        for table in ("payouts", "submissions", "batches", "topups"):  # for the next example's tick
            self.world.execute(f"UPDATE {table} SET next_action_at = NULL WHERE wallet_id = :id", id=self.wallet_id)
        self.world.execute("UPDATE provider_events SET next_action_at = NULL")


def _payouts_in(call: ProviderCall) -> Iterator[uuid.UUID]:
    """The payouts that a provider request pays."""
    single = call.path == "/payments"
    for text in (
        [call.body["metadata"]["payoutId"]]
        if single
        else [one["description"].partition(" ")[0] for one in call.body["payments"]]
    ):
        payout_id = parse_id(PAYOUT, text)
        assert payout_id is not None
        yield payout_id


@pytest.fixture(scope="module")
def machine(settings: Settings) -> Iterator[type[Payouts]]:
    """The state machine on its own database: its scheduler enqueues whatever is due."""
    url = sa.make_url(settings.database_url)
    server = make_engine(settings, "tests", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS model WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE model"))
    server.dispose()
    engine = make_engine(settings, "tests", url=url.set(database="model").render_as_string(hide_password=False))
    migrations.upgrade_database(engine)
    yield type("Payouts", (Payouts,), {"engine": engine, "configured": settings})
    engine.dispose()


@pytest.mark.timeout(24 * 3600 if LONG else 300)
@pytest.mark.parametrize("examples", [int(LONG)] if LONG else [8, pytest.param(40, marks=pytest.mark.long)])
def test_system_matches_the_model(machine: type[Payouts], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(CI, max_examples=examples))  # type: ignore[no-untyped-call]


def test_model_detects_a_missing_release(machine: type[Payouts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Canceling a payout without releasing its amount is detected."""
    edge = (PayoutStatus.VALIDATED, PayoutStatus.CANCELED)
    monkeypatch.setitem(lifecycle.EDGES, edge, lifecycle.EDGES[edge]._replace(transfers=()))
    system = machine()
    system.request_payouts(amounts=[40_000, 1_000], rail="standard")
    system.balances_and_statuses_match_the_model()
    system.cancel_payout(index=0)
    with pytest.raises(AssertionError):
        system.balances_and_statuses_match_the_model()
