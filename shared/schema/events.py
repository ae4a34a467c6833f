"""What became of a webhook of the provider's."""

import enum


class ProviderEventStatus(enum.StrEnum):
    """What became of a webhook."""

    RECEIVED = "received"
    """Verified and stored; not looked at yet."""

    APPLIED = "applied"
    """It changed a payout."""

    IGNORED = "ignored"
    """Understood; nothing was left to change (a repeat, an older state, a mere notice)."""

    ORPHAN = "orphan"
    """Names a payment that we don't know (yet): the webhook may be faster than the answer to our own call. Tried again
    for a day; where nothing is due any more, given up."""

    MISMATCH = "mismatch"
    """Contradicts our record; no money was touched, and a person has to look."""
