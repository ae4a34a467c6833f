"""Queueing: validated → queued, after checking again that the driver can be paid."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from shared.payouts.lifecycle import Move, TransitionResult, status_condition, transition_payouts
from shared.payouts.orders import payability_error
from shared.schema.payouts import PayoutStatus


class QueueResult(NamedTuple):
    """What queueing did."""

    queued: TransitionResult
    canceled: TransitionResult
    """Payouts whose driver can't be paid any more: the money is available again, the failure says why."""


_VALIDATED = sa.text(f"""
    SELECT payouts.id, drivers.status, drivers.kyc_status
    FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("validated")} AND payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")


def queue_validated_payouts(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime, *, grace: timedelta
) -> QueueResult:
    """Queues those of the payouts that are `validated` with their money reserved; others are left alone.

    `grace` is how long the doorbell has before the tick rings for their submission.
    """
    found = connection.execute(
        _VALIDATED,
        {"ids": list(payout_ids)},
    ).all()
    moves, cancels = [], []
    for row in found:
        refusal = payability_error(row.status, row.kyc_status)
        if refusal is None:
            moves.append(Move(row.id, "checked", next_action_at=now + grace))
        else:
            cancels.append(
                Move(row.id, "the driver can't be paid", failure_code=refusal.code, failure_message=refusal.message)
            )
    return QueueResult(
        transition_payouts(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now),
        transition_payouts(connection, cancels, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now),
    )
