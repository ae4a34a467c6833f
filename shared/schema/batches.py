"""A batch's life."""

import enum


class BatchStatus(enum.StrEnum):
    """queued → processing → completed | failed; queued → canceled; steps are taken by `shared.batches.release`
    and, with the payouts, by `shared.payouts.counters`.
    """

    QUEUED = "queued"
    """Written down; nothing is reserved. Waits for its time, or for somebody to release it."""

    PROCESSING = "processing"
    """Released: its money is reserved and its payouts are on their way."""

    COMPLETED = "completed"
    """Every payout has ended and at least one was paid."""

    FAILED = "failed"
    """No payout was paid; or, with a failure code, it could not be released and can be again."""

    CANCELED = "canceled"
    """Called off before its release."""
