"""Cancellation: until a payout is submitted, the customer can cancel it, and its amount is available again."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, DomainError, NotFound
from shared.platform.ids import PAYOUT, public_id
from shared.schema.payouts import PayoutStatus

CANCELABLE_STATUSES: Final = (PayoutStatus.VALIDATED, PayoutStatus.QUEUED)


def cancel_wallet_payouts(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_ids: Sequence[uuid.UUID], now: datetime
) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Cancel the wallet's payouts that are not submitted yet; one outcome for each.

    Races with the submitting worker: the first to lock a payout wins.
    """
    statuses = lock_payout_statuses(connection, wallet_id, payout_ids)
    outcomes: dict[uuid.UUID, PayoutRow | DomainError] = {}
    for source in CANCELABLE_STATUSES:
        moves = [
            Move(payout_id, "canceled by the customer") for payout_id, status in statuses.items() if status == source
        ]
        moved = transition_payouts(connection, moves, source, PayoutStatus.CANCELED, now)
        outcomes |= {row.id: row for row in moved.rows}
    for payout_id in payout_ids:
        if payout_id not in statuses:
            outcomes[payout_id] = payout_not_found(payout_id)
        elif payout_id not in outcomes:
            status = statuses[payout_id]
            outcomes[payout_id] = Conflict(
                f"This payout can't be canceled any more: it is {status}", code="PAYOUT_NOT_CANCELABLE", status=status
            )
    return outcomes


# Returns the statuses of the wallet's payouts. Locks them in id order.
_LOCK_STATUSES: Final = sa.text(
    "SELECT id, status FROM payouts WHERE id = ANY(:ids) AND wallet_id = :wallet_id ORDER BY id FOR UPDATE"
)


def lock_payout_statuses(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """Lock the wallet's payouts among these and return their statuses."""
    rows = connection.execute(_LOCK_STATUSES, {"ids": list(payout_ids), "wallet_id": wallet_id})
    return {row.id: row.status for row in rows}


def payout_not_found(payout_id: uuid.UUID) -> NotFound:
    """The error for a payout that the wallet does not have."""
    return NotFound(f"No payout {public_id(PAYOUT, payout_id)}", code="PAYOUT_NOT_FOUND")
