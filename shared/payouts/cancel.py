"""Canceling: a payout can be called off until it is submitted; its money is available again."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, DomainError, NotFound
from shared.platform.ids import PAYOUT, public_id
from shared.schema.payouts import PayoutStatus

CANCELABLE_STATUSES = (PayoutStatus.VALIDATED, PayoutStatus.QUEUED)


def cancel_wallet_payouts(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_ids: Sequence[uuid.UUID], now: datetime
) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Cancels those of the wallet's payouts that are not submitted yet; an answer for each.

    Whoever locks a payout first, this or the submitting worker, decides.
    """
    found = lock_payout_statuses(connection, wallet_id, payout_ids)
    answers: dict[uuid.UUID, PayoutRow | DomainError] = {}
    for source in CANCELABLE_STATUSES:
        moves = [Move(payout_id, "canceled by the customer") for payout_id, status in found.items() if status == source]
        moved = transition_payouts(connection, moves, source, PayoutStatus.CANCELED, now)
        answers |= {row.id: row for row in moved.rows}
    for payout_id in payout_ids:
        if payout_id not in found:
            answers[payout_id] = payout_not_found(payout_id)
        elif payout_id not in answers:
            status = found[payout_id]
            answers[payout_id] = Conflict(
                f"This payout can't be canceled any more: it is {status}", code="PAYOUT_NOT_CANCELABLE", status=status
            )
    return answers


def lock_payout_statuses(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """The statuses of the wallet's payouts among these, locked in the common order."""
    rows = connection.execute(
        sa.text(
            "SELECT id, status FROM payouts WHERE id = ANY(:ids) AND wallet_id = :wallet_id ORDER BY id FOR UPDATE"
        ),
        {"ids": list(payout_ids), "wallet_id": wallet_id},
    )
    return {row.id: row.status for row in rows}


def payout_not_found(payout_id: uuid.UUID) -> NotFound:
    """The refusal for a payout that this wallet does not have."""
    return NotFound(f"No payout {public_id(PAYOUT, payout_id)}", code="PAYOUT_NOT_FOUND")
