"""What is about to be asked of the provider, and what came of it."""

import enum


class SubmissionStatus(enum.StrEnum):
    """What we know of the provider's answer."""

    PREPARED = "prepared"
    """Written down; it may be on the wire. If its worker died, the same request goes out again under the same key."""

    UNKNOWN = "unknown"
    """Asked; a time-out, a reset or a 5xx came back. The provider may have it: ask again with the same key."""

    ACCEPTED = "accepted"
    """The provider has it; its payouts wait for their webhooks."""

    REJECTED = "rejected"
    """The provider definitely did not take it: nothing was paid under this key, nor will be."""

    UNRESOLVED = "unresolved"
    """The key's lifetime is over and the provider does not find it: a person has to say what happened."""


class SubmissionKind(enum.StrEnum):
    """How it travels."""

    PAYMENT = "payment"
    """One payout, `POST /payments`."""

    BATCH = "batch"
    """Up to 1,000 standard payouts, `POST /batches`."""
