"""The whole domain against a model of a hundred lines, step by step, with a stranger for a provider.

A state machine asks for payouts, batches, retries and top-ups, has real actors hear doorbells twice, late, in any order
or never, lets the provider be silent, refuse, pay and contradict itself, workers die in the middle of a call and wake
up after their lease, and webhooks come as they like. After each step balances, statuses and the provider's record have
to be what the model says, and the ledger right.

CI draws the same examples each time; `make model` draws others for as long as it takes, and prints how to repeat one.
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

TIME_PASSES = (
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
STEPS = {("processing", "completed"), ("processing", "failed"), ("completed", "returned")}
AMOUNTS = st.sampled_from([1_000, 40_000, 60_000, 400_000, 2_000_000])
MOODY = st.lists(st.sampled_from(BEHAVIORS), min_size=1, max_size=6)
PLACES = st.integers(0, 1_000_000)
"""Which of those there are, whatever their number."""
ACTORS = batches.ACTORS | payouts.ACTORS | submissions.ACTORS | events.ACTORS | topups.ACTORS
ROUNDS_TO_THE_END = 12
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


class Bells:
    """What was rung and not heard yet."""

    def __init__(self) -> None:
        self.enqueued: list[tuple[Task, list[uuid.UUID]]] = []

    def enqueue(self, task: Task, ids: list[uuid.UUID]) -> None:
        if ids:
            self.enqueued.append((task, list(ids)))

    def message_count(self, queue_name: str) -> int:
        return 0


class Told:
    """A webhook on its way: what it says, and whether that is so."""

    def __init__(self, payment: FakePayment, state: str, *, right: bool = True) -> None:
        data = {"paymentId": payment.id, "amount": payment.amount + (not right), "status": state}
        content = {"id": f"evt_{uuid.uuid4().hex}", "type": f"payment.{state}", "data": data}
        self.body, self.payment, self.state, self.right = json.dumps(content).encode(), payment.id, state, right
        self.stored = False


class Payouts(RuleBasedStateMachine):
    """One wallet, and everything that can befall it."""

    engine: sa.Engine
    configured: Settings

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.tasks, self.stranger = SystemClock(), Bells(), FakeProvider()
        self.world = World(self.engine)
        self.driver_id = self.world.driver()
        self.wallet_id, self.model = self.world.wallet_id, Model(available=10_000_000)
        context: Any = (self.configured, self.engine, self.tasks, self.stranger, self.clock)
        self.context = Context(*context)
        given: Any = (self.configured, self.engine, self.tasks, self.clock)
        self.intake, self.door, self.jobs = PayoutIntake(*given), WebhookIntake(*given), Jobs(*given)
        self.requests: list[tuple[PayoutRequest, IntakeResponse]] = []
        self.outbox: list[Told] = []
        self.inbox: dict[uuid.UUID, tuple[Told, str]] = {}
        """Stored webhooks that were not applied: `received`, or `orphan`."""
        self.sleepers: list[tuple[LeasedSubmission, CallOutcome]] = []
        self.holders: dict[str, object] = {}
        """Of each of the provider's keys who holds it by the latest lease, and is not answered."""
        self.decided: dict[str, str] = {}
        """What is known of each key, once somebody who held it has written a definite answer down."""
        self.topups: dict[uuid.UUID, int] = {}
        """Those that are pending, in cents."""
        self.credited_cents = 0
        self.lied_about: set[uuid.UUID] = set()
        """Payouts of which a webhook has said what was not so: \"failed\" perhaps, and somebody has tried again."""

    # What customers ask for

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=4), rail=st.sampled_from(["standard", "standard", "instant"]))
    def asks(self, amounts: list[int], rail: str) -> None:
        """One, or several in bulk, under a key of its own."""
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
    @rule(place=PLACES, same=st.booleans(), times=st.integers(1, 2))
    def asks_again(self, place: int, same: bool, times: int) -> None:
        """Under the same key: the same answer, or none where it is another request."""
        first, answer = self.requests[place % len(self.requests)]
        again = first._replace(
            orders=[order._replace(id=new_id()) for order in first.orders],
            fingerprint=first.fingerprint if same else b"another",
        )
        for repeated in self.intake.flush([again] * times):
            assert isinstance(repeated, IntakeResponse)
            assert (repeated.status, repeated.replayed) == ((200, True) if same else (422, False))
            assert not same or repeated.body == answer.body

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=4), scheduled=st.booleans())
    def hands_a_batch_in(self, amounts: list[int], scheduled: bool) -> None:
        batch_id = new_id()
        orders = [self.world.order(self.driver_id, amount)._replace(batch_id=batch_id) for amount in amounts]
        when = datetime.now(UTC) + timedelta(days=1) if scheduled else None
        new = NewBatch(batch_id, self.wallet_id, "Weekly", Rail.STANDARD, when, orders)
        self._change(
            lambda connection: insert_batch(connection, new, load_order_context(connection, orders), self.clock.now())
        )
        self.model.hand_in(batch_id, {one.id: one.amount_cents for one in orders}, scheduled=scheduled)

    @precondition(lambda self: self.model.batches)
    @rule(place=PLACES, off=st.integers(0, 3))
    def releases_a_batch(self, place: int, off: int) -> None:
        """Or calls it off."""
        batch_id = list(self.model.batches)[place % len(self.model.batches)]
        if off == 0:
            self._cancels(batch_id)
            return
        by = {self.wallet_id: self.world.actor}
        done = self._change(
            lambda connection: release_queued_batches(
                connection, [BatchRef(batch_id, self.wallet_id)], self.clock.now(), by=by, grace=GRACE
            )
        )[batch_id]
        assert isinstance(done, DomainError) != self.model.release(batch_id)
        self.tasks.enqueue(SUBMIT_PAYOUTS, [] if isinstance(done, DomainError) else done.payout_ids)

    def _cancels(self, batch_id: uuid.UUID) -> None:
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
    @rule(place=PLACES)
    def cancels_a_payout(self, place: int) -> None:
        payout_id = list(self.model.payouts)[place % len(self.model.payouts)]
        done = self._change(
            lambda connection: cancel.cancel_wallet_payouts(connection, self.wallet_id, [payout_id], self.clock.now())
        )[payout_id]
        assert isinstance(done, DomainError) != self.model.cancel(payout_id)

    @precondition(lambda self: any(payout.status == "failed" for payout in self.model.payouts.values()))
    @rule(place=PLACES)
    def retries_what_failed(self, place: int) -> None:
        """All of it together, and one that perhaps has not."""
        failed = [one for one, payout in self.model.payouts.items() if payout.status == "failed"]
        asked = list(dict.fromkeys([*failed, list(self.model.payouts)[place % len(self.model.payouts)]]))
        done = self._change(
            lambda connection: retry.retry_wallet_payouts(
                connection, self.wallet_id, asked, self.clock.now(), grace=GRACE
            )
        )
        retried = [one for one in asked if self.model.retry(one)]
        assert [one for one in asked if not isinstance(done[one], DomainError)] == retried
        self.tasks.enqueue(SUBMIT_PAYOUTS, retried)

    @rule(amount=AMOUNTS)
    def tops_up(self, amount: int) -> None:
        made = self._change(
            lambda connection: funding.request_topup(
                connection, self.wallet_id, amount, "rtp", "", self.clock.now(), grace=GRACE
            )
        )
        self.topups[made.id], self.model.pending = amount, self.model.pending + amount
        self.tasks.enqueue(REQUEST_TOPUPS, [made.id])

    # What becomes of doorbells

    @precondition(lambda self: self.tasks.enqueued)
    @rule(place=PLACES, fate=st.sampled_from(["heard", "heard twice", "lost"]), moods=MOODY)
    def a_bell_is(self, place: int, fate: str, moods: list[str]) -> None:
        """Any of them, whatever was rung first; what is heard twice is heard again at some time."""
        enqueued = self.tasks.enqueued
        task, ids = enqueued[place % len(enqueued)] if fate == "heard twice" else enqueued.pop(place % len(enqueued))
        if fate != "lost":
            self._work(task, ids, moods)

    @rule(moods=MOODY, backwards=st.booleans(), due=st.booleans())
    def workers_catch_up(self, moods: list[str], backwards: bool, due: bool) -> None:
        """All that was rung for is done, and what was rung for thereby."""
        if due:
            self.time_passes(also_all_bells_lost=True)
        for _ in range(3):
            enqueued, self.tasks.enqueued = self.tasks.enqueued, []
            for task, ids in reversed(enqueued) if backwards else enqueued:
                self._work(task, ids, moods)
                moods = self.stranger.moods  # those that are left

    @rule(also_all_bells_lost=st.booleans())
    def time_passes(self, also_all_bells_lost: bool) -> None:
        """Everything is due, every lease over; the scheduler rings for it."""
        if also_all_bells_lost:
            self.tasks.enqueued.clear()
        for statement in TIME_PASSES:
            self.world.execute(statement, wallet_id=self.wallet_id)
        for batch in self.model.batches.values():
            batch.due |= batch.scheduled and not batch.released
        self.jobs.tick()
        self.jobs.release_batches()

    # What the provider does

    @precondition(lambda self: self.stranger.payments)
    @rule(
        states=st.lists(st.sampled_from(("completed", "completed", "failed", "returned", "")), min_size=1, max_size=4)
    )
    def provider_goes_on(self, states: list[str]) -> None:
        """Payments end, or are returned, the latest first."""
        for payment, state in zip(reversed(list(self.stranger.payments.values())), itertools.cycle(states)):
            if (payment.states[-1], state) in STEPS:
                payment.states.append(state)
                self.outbox += [Told(payment, "processing"), Told(payment, state)]

    @precondition(lambda self: self.stranger.payments)
    @rule(place=PLACES, state=st.sampled_from(("completed", "failed", "returned")), amount_is_right=st.booleans())
    def provider_lies(self, place: int, state: str, amount_is_right: bool) -> None:
        """A webhook will tell of what was not so."""
        payments = list(self.stranger.payments.values())
        earlier = [one for one in payments if self.model.payouts[one.payout_id].attempt > 1]
        among = earlier or payments
        payment = among[place % len(among)]
        self.outbox.append(Told(payment, state, right=amount_is_right))
        self.lied_about.add(payment.payout_id)

    @precondition(lambda self: self.outbox)
    @rule(chance=st.randoms(use_true_random=False), share=st.sampled_from([1, 1, 2]))
    def webhooks_come(self, chance: Any, share: int) -> None:
        """All of them or half of them, in any order, and are applied."""
        chance.shuffle(self.outbox)
        for _ in range(len(self.outbox) // share):
            self.webhook(place=0, fate="comes")
        for task, ids in [one for one in self.tasks.enqueued if one[0] == APPLY_PROVIDER_EVENTS]:
            self._work(task, ids, [])

    @precondition(lambda self: self.outbox)
    @rule(place=PLACES, fate=st.sampled_from(["comes", "comes", "comes and will come again", "comes twice", "is lost"]))
    def webhook(self, place: int, fate: str) -> None:
        told = self.outbox[place % len(self.outbox)]
        if fate != "comes and will come again":
            self.outbox.remove(told)
        if fate == "is lost":
            return
        notices = [inbox.parse_notification(told.body) for _ in range(2 if fate == "comes twice" else 1)]
        self.door.flush(notices)
        if not told.stored and (told.state in ENDS or told.payment not in self.model.payments):
            self.inbox[notices[0].id] = (told, "received")
        told.stored = True

    @precondition(lambda self: any(not made.get("credited_at") for made in self.stranger.topups.values()))
    @rule()
    def provider_credits_topups(self) -> None:
        for made in self.stranger.topups.values():
            made.setdefault("credited_at", datetime.now(UTC))

    # Workers that are stopped, and wake up late

    @precondition(lambda self: any(payout.status == "processing" for payout in self.model.payouts.values()))
    @rule(mood=st.sampled_from(("does it", "refuses", "is silent")), overtaken=st.booleans())
    def a_worker_falls_asleep(self, mood: str, overtaken: bool) -> None:
        """It holds what is to be sent, has called the provider, and does not write the answer down; so does another
        one after it, once its lease is over.
        """
        waiting = "SELECT id FROM submissions WHERE wallet_id = :id AND status IN ('prepared', 'unknown') ORDER BY id"
        ids = [uuid.UUID(str(row[0])) for row in self.world.rows(waiting, id=self.wallet_id)]
        for _ in range(1 + overtaken):
            for held in self._change(lambda connection: claim_submissions(connection, ids, lease_seconds=60)):
                self.stranger.moods = [mood]
                self.sleepers.append((held, self.stranger.call(held.call())))
                self._note_call(*self.stranger.called.pop(), held.token)
            if overtaken:
                over = (
                    "UPDATE submissions SET lease_expires_at = now() WHERE id = ANY(:ids) AND lease_token IS NOT NULL"
                )
                self.world.execute(over, ids=ids)

    @precondition(lambda self: self.sleepers)
    @rule(latest_first=st.booleans())
    def workers_wake_up(self, latest_first: bool) -> None:
        """One after the other, whoever holds by now what they have held."""
        while self.sleepers:
            held, outcome = self.sleepers.pop(-1 if latest_first else 0)
            submissions._record(self.context, held, outcome)
            key = held.call().idempotency_key
            assert key is not None
            self._answered(key, held.token, outcome)
            self.balances_and_statuses_are_the_models()

    # How the model is told

    def _change(self, work: Callable[[sa.Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return work(connection)

    def _work(self, task: Task, ids: list[uuid.UUID], moods: list[str]) -> None:
        self.stranger.moods, self.stranger.called = list(moods), []
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
            self._applied(ids)
        with suppress(WorkerDied):
            ACTORS[task](self.context, ids)
        assert len(self.tasks.enqueued) >= before
        died = any(outcome is None for _, outcome in self.stranger.called)
        for call, outcome in self.stranger.called:
            # Questions are answered together, submissions one by one: what came before the death counts of these alone.
            self._note_call(call, None if died and task == POLL_PAYOUTS else outcome, token := object())
            if outcome is not None and call.idempotency_key is not None and call.path != "/balance/topup":
                self._answered(call.idempotency_key, token, outcome)

    def _applied(self, ids: list[uuid.UUID]) -> None:
        for event_id in sorted(one for one in set(ids) if one in self.inbox):
            told, _ = self.inbox.pop(event_id)
            if not self.model.hear(told.payment, told.state, right=told.right):
                self.inbox[event_id] = (told, "orphan")

    def _note_call(self, call: ProviderCall, outcome: CallOutcome | None, token: object) -> None:
        """What the provider was asked, and by whom."""
        if call.path.startswith("/payments/"):
            if isinstance(outcome, Accepted):
                self.model.hear(outcome.data["id"], outcome.data["status"])
        elif call.path == "/balance/topup":
            if isinstance(outcome, Rejected):
                self.model.pending -= call.body["amount"]
                self.topups.pop(uuid.UUID(hex=str(call.idempotency_key).removeprefix("topup-")))
        elif call.idempotency_key is not None:
            self.holders[call.idempotency_key] = token
            for payout_id in _payouts_in(call):
                self.model.payouts[payout_id].submission = call.idempotency_key

    def _answered(self, key: str, token: object, outcome: CallOutcome) -> None:
        """An answer is written down; it counts from who holds the key."""
        if self.holders.get(key) is not token:
            return
        if isinstance(outcome, Accepted):
            self.decided[key] = "accepted"
            for one in outcome.data.get("payments", [outcome.data]):
                payout_id = self.stranger.payments[one["id"]].payout_id
                self.model.payments[one["id"]] = (payout_id, self.model.payouts[payout_id].attempt)
        if isinstance(outcome, Rejected):
            self.decided[key] = "rejected"
            self.model.refused(key)
        self.holders[key] = None

    # What has to be so after each step

    @invariant()
    def balances_and_statuses_are_the_models(self) -> None:
        """A top-up is credited once the provider has credited it, and in its amount."""
        rows = self.world.rows("SELECT id FROM topups WHERE wallet_id = :id AND status = 'settled'", id=self.wallet_id)
        credited = sum(made["amount"] for made in self.stranger.topups.values() if "credited_at" in made)
        for topup_id in {uuid.UUID(str(row[0])) for row in rows} & self.topups.keys():
            amount = self.topups.pop(topup_id)
            self.model.pending, self.model.available = self.model.pending - amount, self.model.available + amount
            self.credited_cents += amount
        assert self.credited_cents <= credited
        held = self.world.balances()
        found = (held.available_cents, held.in_transit_cents, held.pending_funding_cents, held.fees_cents)
        model = self.model
        assert found == (model.available, model.in_transit, model.pending, model.fees)
        rows = self.world.rows(
            "SELECT id, status, attempt, held_reason IS NOT NULL, reserved, fee_cents FROM payouts"
            " WHERE wallet_id = :id",
            id=self.wallet_id,
        )
        expected = {
            payout_id: (one.status, one.attempt, one.held, one.reserved, one.fee)
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
    def nobody_is_paid_twice(self) -> None:
        """By the provider's own record: of each attempt one payment at most, and another only after that has failed."""
        made: dict[uuid.UUID, list[FakePayment]] = {}
        for payment in self.stranger.payments.values():
            made.setdefault(payment.payout_id, []).append(payment)
        for payout_id, payments in made.items():
            payout = self.model.payouts[payout_id]
            assert len(payments) <= payout.attempt
            assert {one.amount for one in payments} == {payout.amount - payout.fee}
            good = [one for one in payments if one.states[-1] != "failed"]
            assert len(good) <= 1 or payout.held or payout_id in self.lied_about

    def teardown(self) -> None:
        """All is told and heard, and nobody dies any more: every payout ends, and the books are right."""
        self.outbox = [told for told in self.outbox if told.right]
        self.sleepers.clear()
        for _ in range(ROUNDS_TO_THE_END):
            if not any(payout.reserved and not payout.held for payout in self.model.payouts.values()):
                break
            for payment in self.stranger.payments.values():
                if payment.states[-1] == "processing":
                    payment.states.append("completed")
            self.time_passes(also_all_bells_lost=True)
            while self.tasks.enqueued:
                self._work(*self.tasks.enqueued.pop(0), moods=[])
        self.balances_and_statuses_are_the_models()
        self.nobody_is_paid_twice()
        for payout in self.model.payouts.values():
            waits = payout.batch is not None and not self.model.batches[payout.batch].released
            assert payout.held or waits or payout.status not in OPEN, payout
        self.world.assert_ledger_consistent()
        self.world.assert_counters_match()
        for table in ("payouts", "submissions", "batches", "topups"):  # for the next example's tick
            self.world.execute(f"UPDATE {table} SET next_action_at = NULL WHERE wallet_id = :id", id=self.wallet_id)
        self.world.execute("UPDATE provider_events SET next_action_at = NULL")


def _payouts_in(call: ProviderCall) -> Iterator[uuid.UUID]:
    """The payouts that a request to the provider pays."""
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
    """The state machine on a database of its own: its scheduler looks for whatever is due."""
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
def test_the_domain_is_what_the_model_says(machine: type[Payouts], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(CI, max_examples=examples))  # type: ignore[no-untyped-call]


def test_the_model_notices_a_reservation_that_is_not_released(
    machine: type[Payouts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given that canceling forgets the money, one canceled payout is enough."""
    edge = (PayoutStatus.VALIDATED, PayoutStatus.CANCELED)
    monkeypatch.setitem(lifecycle.EDGES, edge, lifecycle.EDGES[edge]._replace(transfers=()))
    story = machine()
    story.asks(amounts=[40_000, 1_000], rail="standard")
    story.balances_and_statuses_are_the_models()
    story.cancels_a_payout(place=0)
    with pytest.raises(AssertionError):
        story.balances_and_statuses_are_the_models()
