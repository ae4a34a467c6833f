"""The effects of a resolution."""

import enum
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from shared import ledger
from shared.holds import cases
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.rails import PROVIDER_RAILS
from shared.platform.errors import InsufficientFunds
from shared.platform.ids import new_id
from shared.schema.controls import CaseKind
from shared.schema.payouts import PayoutStatus

S = PayoutStatus

NOT_PAID_FAILURE_CODE: Final = "NOT_PAID"


class Resolution(enum.StrEnum):
    """What happened to the payment at the provider."""

    PAID = "paid"
    NOT_PAID = "not-paid"


class ResolvablePayout(NamedTuple):
    """A locked payout, with its wallet's owner and its current submission."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    organization_id: uuid.UUID
    mode: str
    status: PayoutStatus
    attempt: int
    held_reason: str | None
    submission_id: uuid.UUID | None
    submission_status: str | None


# Takes a payout off hold and makes it due if it has not been submitted. Locks it; it is locked already.
_TAKE_OFF_HOLD: Final = sa.text("""
    UPDATE payouts SET held_reason = NULL, held_at = NULL,
        next_action_at = CASE WHEN status IN ('validated', 'queued') THEN :now ELSE next_action_at END
    WHERE id = :id
""")


def apply_resolution(
    connection: sa.Connection,
    payout: ResolvablePayout,
    resolution: Resolution,
    path: Sequence[PayoutStatus],
    reviewers: Sequence[str],
    now: datetime,
) -> PayoutStatus:
    """Move the payout along `path` and return its last status.

    Raises:
        InsufficientFunds: its amount was released, and the balance no longer covers it.

    """
    names = " and ".join(reviewers)
    ledger.lock_wallets(connection, [payout.wallet_id])
    connection.execute(_TAKE_OFF_HOLD, {"id": payout.id, "now": now})
    submission_id = None
    if resolution is Resolution.PAID and path:
        submission_id = _link_payment(connection, payout, now)
    source = payout.status
    for target in path:
        linked = submission_id if target is S.PROCESSING else None
        move = Move(payout.id, f"resolved by {names}: {resolution}", submission_id=linked)
        if target is S.FAILED:
            move = replace(move, failure_code=NOT_PAID_FAILURE_CODE, failure_message="Paystream has not paid it")
        try:
            moved = transition_payouts(connection, [move], source, target, now)
        except IntegrityError:
            raise InsufficientFunds(
                "The wallet's available balance does not cover this payout; top up the wallet first"
            ) from None
        assert moved.rows, "the payout is locked"
        source = target
    if payout.submission_status == "unresolved":
        connection.execute(_END_SUBMISSION, {"id": payout.submission_id, "now": now})
    cases.close_payout_cases(connection, payout.id, names, f"resolved: {resolution}", now)
    return source


# Returns the open case for the provider payment that put the payout on hold. Locks nothing.
_UNRECORDED_PAYMENT: Final = sa.text("""
    SELECT payment_id, theirs, about_at FROM reconciliation_cases
    WHERE payout_id = :id AND kind = :kind AND closed_at IS NULL AND payment_id IS NOT NULL
    ORDER BY id LIMIT 1
""")

# Records the payment id of a submitted payout. Locks its submission item.
_SET_PAYMENT_ID: Final = sa.text("""
    UPDATE submission_items SET provider_payment_id = :payment_id
    WHERE payout_id = :id AND attempt = :attempt AND NOT dissolved AND provider_payment_id IS NULL
""")

_PROVIDER_RAIL: Final = " ".join(f"WHEN '{ours}' THEN '{name}'" for ours, name in PROVIDER_RAILS.items())

# Inserts an accepted submission for a payment that the provider made before. Locks nothing else.
_INSERT_ACCEPTED_SUBMISSION: Final = sa.text(f"""
    INSERT INTO submissions (id, wallet_id, kind, rail, request, status, provider_id, first_sent_at,
                             answered_at, created_at)
    SELECT :id, :wallet_id, 'payment', rail, jsonb_build_object('recipientId', CAST(:recipient_id AS text),
               'amount', CAST(:net_cents AS bigint), 'rail', CASE rail {_PROVIDER_RAIL} END),
           'accepted', :payment_id, :made_at, :now, :now
    FROM payouts WHERE id = :payout_id
""")

# Inserts the item of that submission. Locks nothing else.
_INSERT_ACCEPTED_ITEM: Final = sa.text("""
    INSERT INTO submission_items (submission_id, position, payout_id, attempt, net_cents, recipient_id,
                                  provider_payment_id)
    VALUES (:id, 0, :payout_id, :attempt, :net_cents, :recipient_id, :payment_id)
""")


def _link_payment(connection: sa.Connection, payout: ResolvablePayout, now: datetime) -> uuid.UUID | None:
    """Record the unrecorded payment as this payout's, to match later updates, such as its return.

    Returns the id of a new submission, for a payout that has none in its attempt.
    """
    case = connection.execute(_UNRECORDED_PAYMENT, {"id": payout.id, "kind": CaseKind.MISSING_HERE.value}).one_or_none()
    if case is None:
        return None
    if payout.status is S.PROCESSING:
        values = {"id": payout.id, "attempt": payout.attempt, "payment_id": case.payment_id}
        connection.execute(_SET_PAYMENT_ID, values)
        return None
    theirs: dict[str, Any] = case.theirs
    submission_id = new_id()
    values = {
        "id": submission_id,
        "wallet_id": payout.wallet_id,
        "payout_id": payout.id,
        "attempt": payout.attempt + (payout.status is S.FAILED),
        "payment_id": case.payment_id,
        "recipient_id": theirs["recipient"],
        "net_cents": theirs["amount"],
        "made_at": case.about_at,
        "now": now,
    }
    connection.execute(_INSERT_ACCEPTED_SUBMISSION, values)
    connection.execute(_INSERT_ACCEPTED_ITEM, values)
    return submission_id


# Ends a submission once none of its payouts is processing: accepted if any was paid. Locks the submission.
_END_SUBMISSION: Final = sa.text("""
    UPDATE submissions SET answered_at = :now, status = CASE WHEN EXISTS (
            SELECT FROM payouts WHERE payouts.submission_id = :id AND status IN ('completed', 'returned'))
        THEN 'accepted' ELSE 'rejected' END, error_message = 'resolved by reviewers'
    WHERE id = :id AND status = 'unresolved' AND NOT EXISTS (
        SELECT FROM payouts WHERE payouts.submission_id = :id AND status = 'processing')
""")
