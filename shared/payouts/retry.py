"""Retrying: another attempt at a failed payout, because a person asked for it; the money is reserved again."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from shared import ledger
from shared.errors import Conflict, InsufficientFunds, Refusal
from shared.models.payouts import PayoutStatus
from shared.payouts.accept import not_payable
from shared.payouts.cancel import locked_statuses, unknown
from shared.payouts.rows import PayoutRow
from shared.payouts.transition import Move, transition


def retry(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    payout_ids: Sequence[uuid.UUID],
    now: datetime,
    *,
    grace: timedelta,
) -> dict[uuid.UUID, PayoutRow | Refusal]:
    """Queues those of the wallet's failed payouts that can be paid and are covered; an answer for each.

    Funds go in the order asked. A payout about which the provider contradicted itself can't be retried: it may
    have been paid.
    """
    found = locked_statuses(connection, wallet_id, payout_ids)
    details = {row.id: row for row in _details(connection, list(found))}
    left = ledger.lock(connection, [wallet_id]).get(wallet_id, 0)
    answers: dict[uuid.UUID, PayoutRow | Refusal] = {}
    moves = []
    for payout_id in dict.fromkeys(payout_ids):
        if payout_id not in found:
            answers[payout_id] = unknown(payout_id)
            continue
        row, status = details[payout_id], found[payout_id]
        if status != PayoutStatus.FAILED:
            answers[payout_id] = Conflict(
                f"Only failed payouts can be retried: this one is {status}", code="PAYOUT_NOT_RETRYABLE", status=status
            )
        elif row.held_reason is not None:
            answers[payout_id] = Conflict(
                "The provider's reports on this payout contradict each other; we are looking into it",
                code="PAYOUT_HELD",
                status=status,
            )
        elif refusal := not_payable(row.driver_status, row.kyc_status):
            answers[payout_id] = refusal
        elif row.amount_cents > left:
            answers[payout_id] = InsufficientFunds(
                "Insufficient funds", available=left, required=row.amount_cents, status=status
            )
        else:
            left -= row.amount_cents
            moves.append(Move(payout_id, "retried by the customer", next_action_at=now + grace))
    moved = transition(connection, moves, PayoutStatus.FAILED, PayoutStatus.QUEUED, now)
    return answers | {row.id: row for row in moved.rows}


def _details(connection: sa.Connection, payout_ids: Sequence[uuid.UUID]) -> Sequence[sa.Row[tuple[object, ...]]]:
    return connection.execute(
        sa.text("""
            SELECT payouts.id, amount_cents, held_reason, drivers.status AS driver_status, kyc_status
            FROM payouts JOIN drivers ON drivers.id = driver_id WHERE payouts.id = ANY(:ids)
        """),
        {"ids": list(payout_ids)},
    ).all()
