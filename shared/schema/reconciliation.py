"""What differs between our record and the provider's, and how it came to be looked for."""

import enum


class CaseKind(enum.StrEnum):
    """How the two records differ."""

    MISSING_HERE = "missing_here"
    """The provider has a payment that we do not know."""

    MISSING_THERE = "missing_there"
    """We say that it was paid, and the provider has no such payment."""

    AMOUNT = "amount"
    CURRENCY = "currency"
    RECIPIENT = "recipient"
    STATUS = "status"
    """Both know it, and tell two endings of it."""

    PAID_TWICE = "paid_twice"
    """The provider has two payments for one attempt."""

    BALANCE = "balance"
    """The provider's balance went another way than ours."""

    UNRESOLVED = "unresolved"
    """Nobody knows whether it was paid: its key's lifetime is over."""

    CONTRADICTION = "contradiction"
    """The payout is held: a report of the provider's contradicts our record, or it may be a double."""


class RunStatus(enum.StrEnum):
    """How far a comparison has come."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It was not finished; the next one is another row."""


class RunCause(enum.StrEnum):
    """Why it was made."""

    DAILY = "daily"
    COMMAND = "command"
    RESTORE = "restore"
    """Because the database may be an older copy of itself."""
