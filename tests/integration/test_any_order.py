"""Webhooks in any order, each once or twice, in groups of any size, with polls between them: the payout ends as the
provider's own record says, with one set of transfers.

Each scenario is a payout of its own, and hundreds run side by side. OVNPAY_TEST_EVERY_ORDER=1 runs all orders in groups
of all sizes, for minutes; otherwise those without repeats, and a random sample of the others.

"""

import itertools
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared import inbox
from shared.payouts import poll, submissions
from shared.payouts.provider_results import payments_in_response, record_outcome
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.submission_leases import claim_submissions
from shared.provider.outcomes import Accepted
from tests.support import report_lines
from tests.support.provider_steps import accepted_answer
from tests.support.world import GRACE, World

EVERY_ORDER = bool(os.environ.get("OVNPAY_TEST_EVERY_ORDER"))
SAMPLED_ORDERS = 500
SCENARIOS_AT_ONCE = 500
SCENARIOS_PER_WORLD = 4_000
POLLED_EVERY = 4

AMOUNT_CENTS, NET_CENTS = 1_000, 750
STATES = {
    "completed": ("created", "processing", "completed"),
    "failed": ("created", "processing", "failed"),
    "returned": ("created", "processing", "completed", "returned"),
}
TRANSFERS = {
    "completed": (("reserve", 1_000), ("settle", 750), ("fee", 250)),
    "failed": (("reserve", 1_000), ("release", 1_000)),
    "returned": (("reserve", 1_000), ("settle", 750), ("fee", 250), ("return", 750)),
}
EVENTS = {
    "completed": ("payout.created", "payout.succeeded"),
    "failed": ("payout.created", "payout.failed"),
    "returned": ("payout.created", "payout.succeeded", "payout.returned"),
}


@dataclass
class Scenario:
    """One payout, and its webhooks in their order and group size."""

    ending: str
    order: tuple[str, ...]
    size: int
    payout_id: uuid.UUID = field(default_factory=uuid.uuid4)
    payment_id: str = ""
    stage: int = 0
    """The index of the provider's current state."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    repeats_as_new_event: bool = False
    """Whether a repeat is a new event; otherwise it has the same bytes, as a repeated delivery."""

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The states that arrive together."""
        return [self.order[start : start + self.size] for start in range(0, len(self.order), self.size)]

    def next_webhooks(self, round_number: int) -> list[bytes]:
        """The webhooks of a round. The provider's record is at least as far as they report."""
        states = self.groups[round_number] if round_number < len(self.groups) else ()
        webhooks = []
        for state in states:
            self.stage = max(self.stage, STATES[self.ending].index(state))
            if self.repeats_as_new_event or state not in self.bodies:
                self.bodies[state] = self._webhook(state)
            webhooks.append(self.bodies[state])
        return webhooks

    def _webhook(self, state: str) -> bytes:
        data = {"paymentId": self.payment_id, "amount": NET_CENTS, "status": state}
        return json.dumps({"id": f"evt_{uuid.uuid4().hex}", "type": f"payment.{state}", "data": data}).encode()

    def poll_response(self, rng: random.Random) -> Accepted:
        """The provider's record, perhaps ahead of every webhook."""
        self.stage = rng.randint(self.stage, len(STATES[self.ending]) - 1)
        state = STATES[self.ending][self.stage]
        return Accepted({"id": self.payment_id, "recipientId": None, "amount": NET_CENTS, "status": state})


def orders(counts: Counter[str]) -> Iterator[tuple[str, ...]]:
    """Every distinct order."""
    if not counts:
        yield ()
    for state in sorted(counts):
        for rest in orders(counts - Counter([state])):
            yield (state, *rest)


def build_scenarios(rng: random.Random) -> Iterator[Scenario]:
    """The scenarios of this run."""
    others = []
    for ending, states in STATES.items():
        for times in itertools.product((1, 2), repeat=len(states)):
            for order in orders(Counter(dict(zip(states, times, strict=True)))):
                if EVERY_ORDER or set(times) == {1}:
                    yield from (Scenario(ending, order, size) for size in range(1, len(order) + 1))
                else:
                    others.append((ending, order))
    for ending, order in rng.sample(others, min(SAMPLED_ORDERS, len(others))):
        yield Scenario(ending, order, rng.randint(1, len(order)))


def submit_scenarios(world: World, scenarios: Sequence[Scenario]) -> dict[uuid.UUID, str]:
    """Give each scenario a payout that the provider accepted, and return their recipient ids."""
    payout_ids = world.accepted(len(scenarios), amount_cents=AMOUNT_CENTS)
    with world.engine.begin() as connection:
        queue_validated_payouts(connection, payout_ids, world.clock.now(), grace=GRACE)
        prepared = submissions.prepare_submissions(connection, payout_ids, world.clock.now(), reason="test")
        for held in claim_submissions(connection, prepared.submission_ids, lease_seconds=60):
            answer = accepted_answer(held)
            record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
            assert all(payment.amount == NET_CENTS for payment in payments_in_response(held.kind, answer.data))
    rows = world.rows(
        "SELECT payout_id, provider_payment_id, recipient_id FROM submission_items WHERE payout_id = ANY(:ids)",
        ids=payout_ids,
    )
    for scenario, (payout_id, payment_id, _) in zip(scenarios, rows, strict=True):
        scenario.payout_id, scenario.payment_id = uuid.UUID(str(payout_id)), str(payment_id)
    return {uuid.UUID(str(payout_id)): str(recipient_id) for payout_id, _, recipient_id in rows}


def run_scenarios(world: World, scenarios: Sequence[Scenario], rng: random.Random) -> int:
    """Run scenarios side by side, round by round; return the number of webhooks."""
    recipients, webhooks = submit_scenarios(world, scenarios), 0
    for scenario in scenarios:
        scenario.repeats_as_new_event = rng.random() < 0.5
    for round_number in range(max(len(scenario.groups) for scenario in scenarios)):
        bodies = [body for scenario in scenarios for body in scenario.next_webhooks(round_number)]
        webhooks += len(bodies)
        with world.engine.begin() as connection:
            notices = [inbox.parse_notification(body) for body in bodies]
            stored = inbox.store_notifications(connection, notices, world.clock.now(), grace=GRACE)
        with world.engine.begin() as connection:
            inbox.apply_events(connection, stored.waiting, world.clock.now())
        polled = [scenario for scenario in scenarios if rng.randrange(POLLED_EVERY) == 0]
        with world.engine.begin() as connection:
            ids = [scenario.payout_id for scenario in polled]
            polls = poll.start_polls(connection, ids, world.clock.now(), first_seconds=60)
            of_payout = {scenario.payout_id: scenario for scenario in polled}
            answers = [of_payout[one.payout_id].poll_response(rng) for one in polls]
            for one, answer in zip(polls, answers, strict=True):
                answer.data["recipientId"] = recipients[one.payout_id]
            poll.apply_poll_outcomes(connection, polls, answers, world.clock.now())
    return webhooks


def rows_by_payout(
    world: World, scenarios: Sequence[Scenario], table: str, columns: str, order: str
) -> dict[uuid.UUID, list[object]]:
    """The rows of a table for each scenario's payout, in order."""
    of_payout: dict[uuid.UUID, list[object]] = {scenario.payout_id: [] for scenario in scenarios}
    ids = [scenario.payout_id for scenario in scenarios]
    statement = f"SELECT payout_id, {columns} FROM {table} WHERE payout_id = ANY(:ids) ORDER BY {order}"
    for payout_id, *values in world.rows(statement, ids=ids):
        of_payout[uuid.UUID(str(payout_id))].append(tuple(values) if len(values) > 1 else values[0])
    return of_payout


@pytest.mark.timeout(1800 if EVERY_ORDER else 300)
def test_payout_ends_as_the_providers_record_says(engine: sa.Engine) -> None:
    """Including the ledger, the customer's events and every counter."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    all_scenarios = list(build_scenarios(rng))
    webhooks = 0
    for begin in range(0, len(all_scenarios), SCENARIOS_AT_ONCE):
        if begin % SCENARIOS_PER_WORLD == 0:
            world = World(engine)
        scenarios = all_scenarios[begin : begin + SCENARIOS_AT_ONCE]
        webhooks += run_scenarios(world, scenarios, rng)
        payout_ids = [scenario.payout_id for scenario in scenarios]
        statuses = dict(zip(payout_ids, world.statuses(payout_ids), strict=True))
        transfers = rows_by_payout(world, scenarios, "transfers", "kind, amount_cents", "position")
        events = rows_by_payout(world, scenarios, "customer_events", "type", "sequence")
        for scenario in scenarios:
            # No webhook is missing, so the record's last state is the final one
            what = f"{scenario.order} in groups of {scenario.size}, seed {seed}"
            assert statuses[scenario.payout_id] == scenario.ending, what
            assert tuple(transfers[scenario.payout_id]) == TRANSFERS[scenario.ending], what
            assert tuple(events[scenario.payout_id]) == EVENTS[scenario.ending], what
    assert world.rows("SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL AND wallet_id = :id",
                      id=world.wallet_id) == [(0,)]  # fmt: skip
    world.assert_ledger_consistent()
    world.assert_counters_match()
    distinct = len({(scenario.ending, scenario.order) for scenario in all_scenarios})
    report_lines.report(
        f"{distinct} orders in {len(all_scenarios)} groupings, {webhooks} webhooks: all as Paystream's record says"
    )
