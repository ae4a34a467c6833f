"""A fake provider in this process, in index of the HTTP client, with a behavior per call.

With one key it acts once and returns the same response each time. Its payments are its own record.

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
    "succeed",
    "succeed",
    "succeed",
    "reject",
    "time out",
    "succeed and time out",
    "throttle",
    "kill the worker",
)


class WorkerDied(Exception):
    """The calling worker was killed."""


class UnlimitedBudget:
    """A call budget that never runs out."""

    def pace_seconds(self, connection: sa.Connection, mode: str) -> float:
        return 0.0


@dataclass
class FakePayment:
    """A payment in the provider's record."""

    id: str
    payout_id: uuid.UUID
    amount: int
    recipient_id: str
    states: list[str] = field(default_factory=lambda: ["processing"])

    def as_resource(self, description: str | None = None) -> dict[str, Any]:
        """The payment as its API returns it."""
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
        self.behaviors: list[str] = []
        """Of the next calls, last first; afterwards calls succeed."""
        self.answers: dict[str, CallOutcome] = {}
        self.payments: dict[str, FakePayment] = {}
        self.topups: dict[str, dict[str, Any]] = {}
        self.called: list[tuple[ProviderCall, CallOutcome | None]] = []
        """The calls so far with their outcomes; None: the worker was killed."""
        self._numbers = itertools.count(1)

    def call(self, call: ProviderCall) -> CallOutcome:
        [(_, outcome)] = self.call_each([call])
        return outcome

    def call_all(self, calls: Sequence[ProviderCall]) -> list[CallOutcome]:
        outcomes = dict(self.call_each(calls))
        return [outcomes[index] for index in range(len(calls))]

    def call_each(self, calls: Sequence[ProviderCall]) -> Iterator[tuple[int, CallOutcome]]:
        """Yield the outcomes, the last call's first."""
        for index in reversed(range(len(calls))):
            outcome = self._answer(calls[index], self.behaviors.pop() if self.behaviors else "succeed")
            self.called.append((calls[index], outcome))
            if outcome is None:
                raise WorkerDied
            yield index, outcome

    def _answer(self, call: ProviderCall, behavior: str) -> CallOutcome | None:
        if behavior == "time out":
            return Unknown("no answer")
        if behavior == "throttle":
            return Throttled(1.0)
        if call.idempotency_key is None:
            outcome: CallOutcome = self._lookup(call)
        else:
            outcome = self.answers.setdefault(call.idempotency_key, self._execute(call, behavior))
        if behavior == "kill the worker":
            return None
        return Unknown("no answer") if behavior == "succeed and time out" else outcome

    def _execute(self, call: ProviderCall, behavior: str) -> CallOutcome:
        if call.idempotency_key in self.answers:
            return self.answers[call.idempotency_key]
        if behavior == "reject":
            return Rejected("BANK_REJECTED", "no")
        if call.path == "/balance/topup":
            made = {"id": f"top_{next(self._numbers)}", "amount": call.body["amount"]}
            self.topups[made["id"]] = made
            return Accepted(made)
        if call.path == "/payments":
            return Accepted(self._pay(call.body, call.body["metadata"]["payoutId"]).as_resource())
        payments = [
            self._pay(one, one["description"].partition(" ")[0]).as_resource(one["description"])
            for one in call.body["payments"]
        ]
        return Accepted({"id": f"batch_{next(self._numbers)}", "name": call.body["name"], "payments": payments})

    def _pay(self, body: dict[str, Any], shown_id: str) -> FakePayment:
        payout_id = parse_id(PAYOUT, shown_id)
        assert payout_id is not None
        payment = FakePayment(f"pmt_{next(self._numbers)}", payout_id, body["amount"], body["recipientId"])
        payment.id = f"{payment.id}_{payout_id.hex}"  # unique over all examples
        self.payments[payment.id] = payment
        return payment

    def _lookup(self, call: ProviderCall) -> CallOutcome:
        if call.path.startswith("/payments/"):
            return Accepted(self.payments[call.path.rpartition("/")[2]].as_resource())
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
