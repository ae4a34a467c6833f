"""The allowed steps of a payout's life, and what each does to the money and tells the customer."""

from typing import Final, NamedTuple

from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus, Rail

S = PayoutStatus
K = TransferKind


class EdgeEffect(NamedTuple):
    """What a step does besides changing the status."""

    transfers: tuple[TransferKind, ...] = ()
    """In order. RESERVE is made only where nothing is reserved yet, RELEASE only where something is."""

    event: str | None = None
    """The customer event that tells of it."""

    reserved: bool | None = None
    """Whether the amount is in transit after the step; None: as before."""

    new_attempt: bool = False
    """Whether the step begins another attempt."""


EDGES: Final[dict[tuple[PayoutStatus, PayoutStatus], EdgeEffect]] = {
    # Taken up by a worker, or released with its batch (which is when a batch payout's money is reserved).
    (S.VALIDATED, S.QUEUED): EdgeEffect((K.RESERVE,), reserved=True),
    # A submission was written for it; from here on only the provider's word ends it.
    (S.QUEUED, S.PROCESSING): EdgeEffect(),
    # The provider says paid.
    (S.PROCESSING, S.COMPLETED): EdgeEffect((K.SETTLE, K.FEE), "payout.succeeded", reserved=False),
    # The provider definitely refused or gave up.
    (S.PROCESSING, S.FAILED): EdgeEffect((K.RELEASE,), "payout.failed", reserved=False),
    # Called off before it was submitted: by the customer, or because the driver can't be paid any more.
    (S.VALIDATED, S.CANCELED): EdgeEffect((K.RELEASE,), "payout.cancelled", reserved=False),
    (S.QUEUED, S.CANCELED): EdgeEffect((K.RELEASE,), "payout.cancelled", reserved=False),
    # A person asked for another attempt: a new submission with a new key.
    (S.FAILED, S.QUEUED): EdgeEffect((K.RESERVE,), reserved=True, new_attempt=True),
    # The driver's bank sent it back, days later.
    (S.COMPLETED, S.RETURNED): EdgeEffect((K.RETURN,), "payout.returned", reserved=False),
}

RAIL_LIMIT_CENTS: Final = {Rail.STANDARD: 100_000_000, Rail.SAME_DAY: 100_000_000, Rail.INSTANT: 1_000_000}
"""The most that one payout may be, by rail: what the provider's rails carry."""


def status_condition(status: str) -> str:
    """The SQL condition that a payout that is found by its id is in a status: one of `PayoutStatus`, or a `:parameter`.

    In words of which the planner knows nothing. By `=` it would know that few payouts are queued, as a rule, and look
    for them by their status instead of by their ids: in the minute in which thousands are, each step of a few read
    them all, and what is left of those before them.
    """
    value = status if status.startswith(":") else f"'{status}'"
    return f"CASE payouts.status WHEN {value} THEN true END"
