"""Webhooks in any order, each once or twice, in groups of any size, with polls between them: the payout ends as the
provider's own record says, with one set of transfers.

Each story is a payout of its own, and hundreds of them are told at once: what the door stores and the workers apply in
one go is one group of each. With OVNPAY_TEST_EVERY_ORDER=1 there are all orders in groups of all sizes, which takes
minutes; without, those where everything comes once, and several hundred of the others by lot.
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
from tests.support import report_lines as telling
from tests.support.provider_steps import accepted_answer
from tests.support.world import GRACE, World

EVERY_ORDER = bool(os.environ.get("OVNPAY_TEST_EVERY_ORDER"))
BY_LOT = 500
AT_ONCE = 500
WORLD_FOR = 4_000
POLLED_EVERY = 4

AMOUNT_CENTS, NET_CENTS = 1_000, 750
LIVES = {
    "completed": ("created", "processing", "completed"),
    "failed": ("created", "processing", "failed"),
    "returned": ("created", "processing", "completed", "returned"),
}
MONEY = {
    "completed": (("reserve", 1_000), ("settle", 750), ("fee", 250)),
    "failed": (("reserve", 1_000), ("release", 1_000)),
    "returned": (("reserve", 1_000), ("settle", 750), ("fee", 250), ("return", 750)),
}
TOLD = {
    "completed": ("payout.created", "payout.succeeded"),
    "failed": ("payout.created", "payout.failed"),
    "returned": ("payout.created", "payout.succeeded", "payout.returned"),
}


@dataclass
class Story:
    """One payout, and what is heard of it in which order and in groups of which size."""

    life: str
    order: tuple[str, ...]
    size: int
    payout_id: uuid.UUID = field(default_factory=uuid.uuid4)
    payment_id: str = ""
    stage: int = 0
    """How far the provider's record is: its place in the life."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    anew: bool = False
    """Whether what comes twice comes as another event; else it is the same to the byte, as a delivery repeated is."""

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """What comes together."""
        return [self.order[start : start + self.size] for start in range(0, len(self.order), self.size)]

    def hear(self, turn: int) -> list[bytes]:
        """The webhooks of that turn. What is told has happened, so the provider's record is that far at least."""
        states = self.groups[turn] if turn < len(self.groups) else ()
        heard = []
        for state in states:
            self.stage = max(self.stage, LIVES[self.life].index(state))
            if self.anew or state not in self.bodies:
                self.bodies[state] = self._webhook(state)
            heard.append(self.bodies[state])
        return heard

    def _webhook(self, state: str) -> bytes:
        data = {"paymentId": self.payment_id, "amount": NET_CENTS, "status": state}
        return json.dumps({"id": f"evt_{uuid.uuid4().hex}", "type": f"payment.{state}", "data": data}).encode()

    def asked(self, chance: random.Random) -> Accepted:
        """What the provider's record says, which may be further than any webhook has told."""
        self.stage = chance.randint(self.stage, len(LIVES[self.life]) - 1)
        state = LIVES[self.life][self.stage]
        return Accepted({"id": self.payment_id, "recipientId": None, "amount": NET_CENTS, "status": state})


def orders(counts: Counter[str]) -> Iterator[tuple[str, ...]]:
    """Every order of these, those that look the same once."""
    if not counts:
        yield ()
    for state in sorted(counts):
        for rest in orders(counts - Counter([state])):
            yield (state, *rest)


def stories(chance: random.Random) -> Iterator[Story]:
    """Those of this run."""
    others = []
    for life, states in LIVES.items():
        for times in itertools.product((1, 2), repeat=len(states)):
            for order in orders(Counter(dict(zip(states, times, strict=True)))):
                if EVERY_ORDER or set(times) == {1}:
                    yield from (Story(life, order, size) for size in range(1, len(order) + 1))
                else:
                    others.append((life, order))
    for life, order in chance.sample(others, min(BY_LOT, len(others))):
        yield Story(life, order, chance.randint(1, len(order)))


def submitted(world: World, told: Sequence[Story]) -> dict[uuid.UUID, str]:
    """Gives each story a payout that the provider has. Whom each is paid to, as the provider knows him."""
    payout_ids = world.accepted(len(told), amount_cents=AMOUNT_CENTS)
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
    for story, (payout_id, payment_id, _) in zip(told, rows, strict=True):
        story.payout_id, story.payment_id = uuid.UUID(str(payout_id)), str(payment_id)
    return {uuid.UUID(str(payout_id)): str(recipient_id) for payout_id, _, recipient_id in rows}


def tell(world: World, told: Sequence[Story], chance: random.Random) -> int:
    """Tells stories at once, turn after turn. How many webhooks came."""
    recipients, heard = submitted(world, told), 0
    for story in told:
        story.anew = chance.random() < 0.5
    for turn in range(max(len(story.groups) for story in told)):
        bodies = [body for story in told for body in story.hear(turn)]
        heard += len(bodies)
        with world.engine.begin() as connection:
            notices = [inbox.parse_notification(body) for body in bodies]
            stored = inbox.store_notifications(connection, notices, world.clock.now(), grace=GRACE)
        with world.engine.begin() as connection:
            inbox.apply_events(connection, stored.waiting, world.clock.now())
        asked = [story for story in told if chance.randrange(POLLED_EVERY) == 0]
        with world.engine.begin() as connection:
            ids = [story.payout_id for story in asked]
            questions = poll.start_polls(connection, ids, world.clock.now(), first_seconds=60)
            of_payout = {story.payout_id: story for story in asked}
            answers = [of_payout[question.payout_id].asked(chance) for question in questions]
            for question, answer in zip(questions, answers, strict=True):
                answer.data["recipientId"] = recipients[question.payout_id]
            poll.apply_poll_outcomes(connection, questions, answers, world.clock.now())
    return heard


def found(world: World, told: Sequence[Story], table: str, columns: str, order: str) -> dict[uuid.UUID, list[object]]:
    """What a table has of each story's payout, in order."""
    of_payout: dict[uuid.UUID, list[object]] = {story.payout_id: [] for story in told}
    ids = [story.payout_id for story in told]
    statement = f"SELECT payout_id, {columns} FROM {table} WHERE payout_id = ANY(:ids) ORDER BY {order}"
    for payout_id, *values in world.rows(statement, ids=ids):
        of_payout[uuid.UUID(str(payout_id))].append(tuple(values) if len(values) > 1 else values[0])
    return of_payout


@pytest.mark.timeout(1800 if EVERY_ORDER else 300)
def test_any_order_ends_as_the_providers_record_says(engine: sa.Engine) -> None:
    """The ledger, the customer's events and every figure included."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    everything = list(stories(chance))
    heard = 0
    for begin in range(0, len(everything), AT_ONCE):
        if begin % WORLD_FOR == 0:
            world = World(engine)
        told = everything[begin : begin + AT_ONCE]
        heard += tell(world, told, chance)
        statuses = dict(
            zip([story.payout_id for story in told], world.statuses([story.payout_id for story in told]), strict=True)
        )
        transfers = found(world, told, "transfers", "kind, amount_cents", "position")
        events = found(world, told, "customer_events", "type", "sequence")
        for story in told:
            # Nothing of it is missing, so the record's last word is the end of its life
            what = f"{story.order} in groups of {story.size}, seed {seed}"
            assert statuses[story.payout_id] == story.life, what
            assert tuple(transfers[story.payout_id]) == MONEY[story.life], what
            assert tuple(events[story.payout_id]) == TOLD[story.life], what
    assert world.rows("SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL AND wallet_id = :id",
                      id=world.wallet_id) == [(0,)]  # fmt: skip
    world.assert_ledger_consistent()
    world.assert_counters_match()
    distinct = len({(story.life, story.order) for story in everything})
    telling.report(
        f"{distinct} orders in {len(everything)} groupings, {heard} webhooks: all as Paystream's record says"
    )
