"""Holds, invariant violations, and reconciliation runs and cases."""

import enum
import uuid
from typing import NamedTuple


class HoldKind(enum.StrEnum):
    FROZEN = "frozen"
    """Automatically, because of an invariant violation; an operator lifts it with a reason."""

    PAUSED = "paused"
    """By an operator, until an operator lifts it."""


class Violation(NamedTuple):
    invariant: str
    """The invariant's name."""
    wallet_id: uuid.UUID | None
    """Whose money it concerns; None if that is unknown."""
    explanation: str
    """One sentence with the ids concerned."""


class CaseKind(enum.StrEnum):
    """How the provider's record and ours differ."""

    MISSING_HERE = "missing_here"
    """The provider has a payment that we do not have."""

    MISSING_THERE = "missing_there"
    """We recorded a payment as paid that the provider does not have."""

    AMOUNT = "amount"
    CURRENCY = "currency"
    RECIPIENT = "recipient"
    STATUS = "status"
    """Both have the payment, with different final states."""

    PAID_TWICE = "paid_twice"
    """The provider has two payments for one attempt."""

    BALANCE = "balance"
    """The provider's balance changed by another amount than ours."""

    UNRESOLVED = "unresolved"
    """Its idempotency key expired before it was known whether it was paid."""

    CONTRADICTION = "contradiction"
    """The payout is on hold: a provider event contradicts our record, or it may be a double payment."""


class RunStatus(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """Not finished; the next run is a new row."""


class RunCause(enum.StrEnum):
    DAILY = "daily"
    COMMAND = "command"
    RESTORE = "restore"
    """The database may be a restored backup."""
