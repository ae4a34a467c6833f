"""Payment updates: what the provider says about a payment, by webhook or poll, compared with our record."""

import enum
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from shared.payouts.lifecycle import Move
from shared.platform.ids import DRIVER, PAYOUT, public_id
from shared.schema.payouts import PayoutStatus

logger = structlog.get_logger(__name__)

S = PayoutStatus


class UpdateStatus(enum.StrEnum):
    """What was done with an update; the values are those of `ProviderEventStatus`."""

    APPLIED = "applied"
    IGNORED = "ignored"
    ORPHAN = "orphan"
    MISMATCH = "mismatch"


class PaymentUpdate(NamedTuple):
    """What the provider says about one payment."""

    state: str
    """The provider's payment state, such as `completed`."""
    payment_id: str | None
    """The provider's payment id, if the update names it."""
    payout_id: uuid.UUID | None
    """Our payout, if the update names that instead."""
    amount_cents: int | None
    failure_code: str | None
    failure_reason: str | None
    source: str
    """`webhook` or `poll`; the reason in the payout's history."""
    currency: str | None = None
    recipient_id: str | None = None
    """The provider's id of the driver."""
    driver_id: uuid.UUID | None = None
    contradicted: bool = False
    """The provider sent two bodies under one event id; neither is trusted."""


class UpdateResult(NamedTuple):
    """What was done with one update."""

    status: UpdateStatus
    outcome: str
    """A short explanation."""
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None


class KnownPayment(NamedTuple):
    """A payment that we requested, and its locked payout."""

    payout_id: uuid.UUID
    wallet_id: uuid.UUID
    payment_id: str | None
    net_cents: int
    amount_cents: int
    currency: str
    recipient_id: str | None
    """The recipient in our request; None if none was sent yet."""
    driver_id: uuid.UUID
    attempt: int
    """The attempt that the payment belongs to."""
    current_attempt: int
    status: str
    on_hold: bool


SETTLEMENT_PATHS: dict[tuple[PayoutStatus, str], tuple[PayoutStatus, ...]] = {
    (S.PROCESSING, "completed"): (S.COMPLETED,),
    (S.PROCESSING, "failed"): (S.FAILED,),
    (S.PROCESSING, "canceled"): (S.FAILED,),
    (S.PROCESSING, "returned"): (S.COMPLETED, S.RETURNED),
    (S.COMPLETED, "returned"): (S.RETURNED,),
}
"""(payout status, provider state) → the statuses to pass through."""

CONTRADICTIONS: frozenset[tuple[PayoutStatus, str]] = frozenset(
    {
        # Reported paid, while its amount is available again.
        (S.FAILED, "completed"),
        (S.FAILED, "returned"),
        (S.CANCELED, "completed"),
        (S.CANCELED, "returned"),
        # Reported paid before it was requested.
        (S.VALIDATED, "completed"),
        (S.VALIDATED, "returned"),
        (S.QUEUED, "completed"),
        (S.QUEUED, "returned"),
        # Reported never paid, after it was recorded as paid.
        (S.COMPLETED, "failed"),
        (S.COMPLETED, "canceled"),
        (S.RETURNED, "failed"),
        (S.RETURNED, "canceled"),
    }
)

FINAL_PAYMENT_STATES = frozenset({"completed", "failed", "canceled", "returned"})
"""Provider states that decide a payout."""

PROGRESS_PAYMENT_STATES = frozenset({"created", "validated", "queued", "processing", "sent"})
"""Provider states that require no action."""


def find_differences(update: PaymentUpdate, known: KnownPayment) -> list[str]:
    """What the update says that contradicts our record; fields that it omits are not compared.

    The rail is not compared: it is the provider's choice, and changes neither the recipient nor the amount.
    """
    found = ["two bodies were sent under its event id"] if update.contradicted else []
    expected = {known.net_cents} if update.payment_id else {known.net_cents, known.amount_cents}
    if update.amount_cents is not None and update.amount_cents not in expected:
        found.append(f"amount {update.amount_cents} cents, expected {known.net_cents}")
    if update.currency is not None and update.currency.lower() != known.currency.lower():
        found.append(f"currency {update.currency[:10]}, expected {known.currency}")
    if update.recipient_id is not None and update.recipient_id != known.recipient_id:
        found.append(f"recipient {update.recipient_id[:60]}, expected {known.recipient_id}")
    if update.driver_id is not None and update.driver_id != known.driver_id:
        found.append(f"driver other than {public_id(DRIVER, known.driver_id)}")
    if update.payout_id is not None and update.payout_id != known.payout_id:
        found.append(
            f"{public_id(PAYOUT, update.payout_id)}, but the payment is for {public_id(PAYOUT, known.payout_id)}"
        )
    return found


def classify_update(update: PaymentUpdate, known: KnownPayment) -> tuple[UpdateStatus, tuple[PayoutStatus, ...]]:
    """The status of an update without differences, and the statuses that its payout passes through."""
    if update.state not in FINAL_PAYMENT_STATES:
        if update.state not in PROGRESS_PAYMENT_STATES:
            logger.error("payout.unknown_state", payout=public_id(PAYOUT, known.payout_id), state=update.state[:100])
        return UpdateStatus.IGNORED, ()
    if known.attempt != known.current_attempt:
        # An earlier attempt failed: "failed" again is a repeat, anything else a second payment.
        repeated = update.state in ("failed", "canceled")
        return (UpdateStatus.IGNORED if repeated else UpdateStatus.MISMATCH), ()
    if (S(known.status), update.state) in CONTRADICTIONS:
        return UpdateStatus.MISMATCH, ()
    path = () if known.on_hold else SETTLEMENT_PATHS.get((S(known.status), update.state), ())
    return (UpdateStatus.APPLIED if path else UpdateStatus.IGNORED), path


def describe_result(
    status: UpdateStatus, update: PaymentUpdate, known: KnownPayment, differences: Sequence[str]
) -> str:
    """The explanation for the webhook log and, on a mismatch, for the hold."""
    if differences:
        return f"Paystream reports {update.state[:40]} with {'; '.join(differences)}"
    if status is UpdateStatus.MISMATCH:
        return (
            f"Paystream reports {update.state} with {update.amount_cents} cents for attempt {known.attempt}; "
            f"the payout is {known.status} with {known.net_cents} cents, attempt {known.current_attempt}"
        )
    return f"{update.state[:40]}: was {known.status}"


def settlement_move(update: PaymentUpdate, known: KnownPayment, target: PayoutStatus) -> Move:
    """The payout's move to `target`, with a failure unless it is `completed`."""
    if target is S.COMPLETED:
        return Move(known.payout_id, update.source)
    return Move(
        known.payout_id,
        update.source,
        failure_code=update.failure_code or target.value.upper(),
        failure_message=update.failure_reason or f"Paystream reported the payment as {target}",
    )
