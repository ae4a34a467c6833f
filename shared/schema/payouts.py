"""A payout's life, and the rails it travels on."""

import enum


class PayoutStatus(enum.StrEnum):
    """validated → queued → processing → completed | failed; `shared.payouts.allowed_edges` has every allowed step."""

    VALIDATED = "validated"
    """Accepted and, unless it waits in a batch, its money reserved."""

    QUEUED = "queued"
    """Checked again; waits for its turn to go to the provider."""

    PROCESSING = "processing"
    """Handed to a submission; the provider may or may not have it yet, the submission says which."""

    COMPLETED = "completed"
    """The provider says that the driver was paid."""

    FAILED = "failed"
    """The provider definitely refused it or gave up; the money is available again."""

    CANCELED = "canceled"
    """Called off by the customer before it was submitted; the money is available again."""

    RETURNED = "returned"
    """Paid, then sent back by the driver's bank; the net amount is available again."""


class Rail(enum.StrEnum):
    """The road the money takes."""

    STANDARD = "standard"
    """ACH, 2-4 business days."""

    SAME_DAY = "same_day"
    """Same-day ACH."""

    INSTANT = "instant"
    """RTP, about 30 seconds."""
