"""Queueing: moves validated payouts to queued, after checking the driver again."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.payouts.lifecycle import Move, TransitionResult, status_condition, transition_payouts
from shared.payouts.orders import payability_error
from shared.schema.payouts import PayoutStatus


class QueueResult(NamedTuple):
    """The outcome of queueing."""

    queued: TransitionResult
    canceled: TransitionResult
    """Payouts whose driver can't be paid any more, with that as their failure."""


# Returns validated payouts with a reservation, and their drivers' states. Locks the payouts in id order and skips
# locked ones.
_VALIDATED_PAYOUTS: Final = sa.text(f"""
    SELECT payouts.id, drivers.status, drivers.kyc_status
    FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("validated")} AND payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")


def queue_validated_payouts(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime, *, grace: timedelta
) -> QueueResult:
    """Queue the payouts that are `validated` with their amount reserved.

    `grace` delays the scheduler's own wake-up for their submission.
    """
    moves, cancels = [], []
    for row in connection.execute(_VALIDATED_PAYOUTS, {"ids": list(payout_ids)}).all():
        error = payability_error(row.status, row.kyc_status)
        if error is None:
            moves.append(Move(row.id, "checked", next_action_at=now + grace))
        else:
            cancels.append(
                Move(row.id, "the driver can't be paid", failure_code=error.code, failure_message=error.message)
            )
    return QueueResult(
        transition_payouts(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now),
        transition_payouts(connection, cancels, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now),
    )
