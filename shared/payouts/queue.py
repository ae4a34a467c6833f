"""Queueing: validated → queued, after checking again that the driver can be paid."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from shared.payouts.accept import not_payable
from shared.payouts.allowed_edges import is_in
from shared.payouts.lifecycle import Move, Moved, transition
from shared.schema.payouts import PayoutStatus


class Queued(NamedTuple):
    """What queueing did."""

    queued: Moved
    canceled: Moved
    """Payouts whose driver can't be paid any more: the money is available again, the failure says why."""


_VALIDATED = sa.text(f"""
    SELECT payouts.id, drivers.status, drivers.kyc_status
    FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.id = ANY(:ids) AND {is_in("validated")} AND payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")


def queue(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime, *, grace: timedelta) -> Queued:
    """Queues those of the payouts that are `validated` with their money reserved; others are left alone.

    `grace` is how long the doorbell has before the tick rings for their submission.
    """
    found = connection.execute(
        _VALIDATED,
        {"ids": list(payout_ids)},
    ).all()
    moves, cancels = [], []
    for row in found:
        refusal = not_payable(row.status, row.kyc_status)
        if refusal is None:
            moves.append(Move(row.id, "checked", next_action_at=now + grace))
        else:
            cancels.append(
                Move(row.id, "the driver can't be paid", failure_code=refusal.code, failure_message=refusal.message)
            )
    return Queued(
        transition(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now),
        transition(connection, cancels, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now),
    )
