"""A provider in this process, as moody as it is told to be: it takes the place of the HTTP client, and remembers.

Under one key it does a thing once and answers the same each time. What it has made is its own record, and the webhooks
that tell of it lie in `outbox` until somebody delivers them: in any order, twice, or never.
"""

import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from shared.platform.clock import format_rfc3339
from shared.platform.ids import PAYOUT, parse_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown
from shared.provider.wire import ProviderCall

BEHAVIORS = (
    "does it",
    "does it",
    "does it",
    "refuses",
    "is silent",
    "does it silently",
    "has no time",
    "kills the worker",
)


class WorkerDied(Exception):
    """The worker that was calling is no more."""


class UnlimitedBudget:
    """There is always room."""

    def pace_seconds(self, connection: sa.Connection, mode: str) -> float:
        return 0.0


@dataclass
class FakePayment:
    """A payment as the provider has it."""

    id: str
    payout_id: uuid.UUID
    amount: int
    recipient_id: str
    states: list[str] = field(default_factory=lambda: ["processing"])

    def shown(self, description: str | None = None) -> dict[str, Any]:
        """As its API shows it."""
        return {
            "id": self.id,
            "amount": self.amount,
            "recipientId": self.recipient_id,
            "status": self.states[-1],
            "description": description,
        }


class FakeProvider:
    """The provider, in the shape of `shared.provider.client.PaystreamClient`."""

    def __init__(self) -> None:
        self.budget = UnlimitedBudget()
        self.moods: list[str] = []
        """Of the next calls; then it does what it is asked."""
        self.answers: dict[str, CallOutcome] = {}
        self.payments: dict[str, FakePayment] = {}
        self.topups: dict[str, dict[str, Any]] = {}
        self.called: list[tuple[ProviderCall, CallOutcome | None]] = []
        """What it was asked since somebody last looked, and its answer; None: the worker died of it."""
        self._numbers = itertools.count(1)

    def call(self, call: ProviderCall) -> CallOutcome:
        [(_, outcome)] = self.call_each([call])
        return outcome

    def call_all(self, calls: Sequence[ProviderCall]) -> list[CallOutcome]:
        outcomes = dict(self.call_each(calls))
        return [outcomes[place] for place in range(len(calls))]

    def call_each(self, calls: Sequence[ProviderCall]) -> Iterator[tuple[int, CallOutcome]]:
        """The last call is answered first."""
        for place in reversed(range(len(calls))):
            outcome = self._answer(calls[place], self.moods.pop() if self.moods else "does it")
            self.called.append((calls[place], outcome))
            if outcome is None:
                raise WorkerDied
            yield place, outcome

    def _answer(self, call: ProviderCall, mood: str) -> CallOutcome | None:
        if mood == "is silent":
            return Unknown("no answer")
        if mood == "has no time":
            return Throttled(1.0)
        if call.idempotency_key is None:
            outcome: CallOutcome = self._looked_up(call)
        else:
            outcome = self.answers.setdefault(call.idempotency_key, self._done(call, mood))
        if mood == "kills the worker":
            return None
        return Unknown("no answer") if mood == "does it silently" else outcome

    def _done(self, call: ProviderCall, mood: str) -> CallOutcome:
        if call.idempotency_key in self.answers:
            return self.answers[call.idempotency_key]
        if mood == "refuses":
            return Rejected("BANK_REJECTED", "no")
        if call.path == "/balance/topup":
            made = {"id": f"top_{next(self._numbers)}", "amount": call.body["amount"]}
            self.topups[made["id"]] = made
            return Accepted(made)
        if call.path == "/payments":
            return Accepted(self._pay(call.body, call.body["metadata"]["payoutId"]).shown())
        payments = [
            self._pay(one, one["description"].partition(" ")[0]).shown(one["description"])
            for one in call.body["payments"]
        ]
        return Accepted({"id": f"batch_{next(self._numbers)}", "name": call.body["name"], "payments": payments})

    def _pay(self, body: dict[str, Any], shown_id: str) -> FakePayment:
        payout_id = parse_id(PAYOUT, shown_id)
        assert payout_id is not None
        payment = FakePayment(f"pmt_{next(self._numbers)}", payout_id, body["amount"], body["recipientId"])
        payment.id = f"{payment.id}_{payout_id.hex}"  # the provider's ids are its own, over all examples
        self.payments[payment.id] = payment
        return payment

    def _looked_up(self, call: ProviderCall) -> CallOutcome:
        if call.path.startswith("/payments/"):
            return Accepted(self.payments[call.path.rpartition("/")[2]].shown())
        lines = [
            {
                "id": f"line_{made['id']}",
                "type": "credit",
                "amount": made["amount"],
                "reference": made["id"],
                "createdAt": format_rfc3339(made["credited_at"]),
            }
            for made in self.topups.values()
            if "credited_at" in made
        ]
        return Accepted(lines)
