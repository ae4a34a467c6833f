"""Enums of payouts, batches and submissions to the provider."""

import enum


class PayoutStatus(enum.StrEnum):
    """validated → queued → processing → completed | failed; `shared.payouts.lifecycle` lists every allowed step."""

    VALIDATED = "validated"
    """Accepted; its money is reserved unless it waits for its batch's release."""

    QUEUED = "queued"
    """Validated again; waits to be dispatched to the provider."""

    PROCESSING = "processing"
    """In a submission; the submission's status says whether the provider has it."""

    COMPLETED = "completed"
    """The provider reported that the driver was paid."""

    FAILED = "failed"
    """The provider definitely refused it or gave up; the money is available again."""

    CANCELED = "canceled"
    """Canceled by the customer before it was submitted; the money is available again."""

    RETURNED = "returned"
    """Paid, then sent back by the driver's bank; the net amount is available again."""


class Rail(enum.StrEnum):
    """The payment network."""

    STANDARD = "standard"
    """ACH, 2-4 business days."""

    SAME_DAY = "same_day"
    """Same-day ACH."""

    INSTANT = "instant"
    """RTP, about 30 seconds."""


class BatchStatus(enum.StrEnum):
    """queued → processing → completed | failed; queued → canceled."""

    QUEUED = "queued"
    """Stored, nothing reserved. Waits for its scheduled time or a manual release."""

    PROCESSING = "processing"
    """Released: its money is reserved and its payouts are under way."""

    COMPLETED = "completed"
    """Every payout has ended and at least one was paid."""

    FAILED = "failed"
    """No payout was paid; or, with a failure code, the release failed and can be repeated."""

    CANCELED = "canceled"
    """Canceled before its release."""


class SubmissionStatus(enum.StrEnum):
    """What is known of the provider's answer."""

    PREPARED = "prepared"
    """Stored, possibly sent. If its worker died, the same request is sent again under the same key."""

    UNKNOWN = "unknown"
    """Sent; a timeout, a reset or a 5xx came back. The provider may have it: send again under the same key."""

    ACCEPTED = "accepted"
    """The provider has it; its payouts wait for their webhooks."""

    REJECTED = "rejected"
    """The provider definitely refused it: nothing was or will be paid under this key."""

    UNRESOLVED = "unresolved"
    """The key has expired and the provider does not find it: an operator has to determine what happened."""


class SubmissionKind(enum.StrEnum):
    PAYMENT = "payment"
    """One payout, `POST /payments`."""

    BATCH = "batch"
    """Up to 1,000 standard payouts, `POST /batches`."""
