"""Releasing a batch: its money is reserved, all or nothing, and its payouts set out.

Lock order as everywhere: payouts, then the wallet, then the batch. Whoever comes second finds it released.
"""

import uuid
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.batches.rows import BATCH_COLUMNS, BatchRow
from shared.errors import Conflict, InsufficientFunds, NotFound, Refusal
from shared.ids import BATCH, named, show
from shared.models.batches import BatchStatus
from shared.models.payouts import PayoutStatus
from shared.payouts.accept import not_payable
from shared.payouts.tally import tell
from shared.payouts.transition import Move, transition
from shared.sandbox.scenarios import Scenario

REASON: Final = "released with its batch"

_WAITING = sa.text("""
    SELECT payouts.id, payouts.amount_cents, drivers.status, drivers.kyc_status
    FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.batch_id = :id AND payouts.wallet_id = :wallet_id
          AND payouts.status = 'validated' AND NOT payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts
""")

_RELEASED = sa.text(f"""
    UPDATE batches SET status = 'processing', released_at = :now, next_action_at = NULL,
                       failure_code = NULL, failure_message = NULL
    WHERE id = :id RETURNING {BATCH_COLUMNS}
""")

_NOT_COVERED = sa.text(f"""
    UPDATE batches SET status = 'failed', next_action_at = NULL, failure_code = :code, failure_message = :message
    WHERE id = :id RETURNING {BATCH_COLUMNS}
""")


class Released(NamedTuple):
    """What a release did."""

    batch: BatchRow
    """As it is now; unchanged where it had been released before."""
    payout_ids: list[uuid.UUID]
    """Payouts to ring for."""


def release(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    batch_id: uuid.UUID,
    now: datetime,
    *,
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
) -> Released | Refusal:
    """Releases a batch that waits, or that could not be released before. Again, it changes nothing.

    A refusal for lack of money is written down: the batch is `failed` and says what is missing, nothing has moved, and
    it can be released once the wallet is funded. One whose time is still to come stays `queued`. Payouts whose driver
    can't be paid any more are canceled.
    """
    held = connection.execute(_WAITING, {"id": batch_id, "wallet_id": wallet_id}).all()
    available = ledger.lock(connection, [wallet_id]).get(wallet_id, 0)
    batch = locked(connection, wallet_id, batch_id)
    if batch is None:
        return unknown(show(BATCH, batch_id))
    if batch.status == BatchStatus.CANCELED:
        return Conflict("This batch was canceled", code="BATCH_NOT_RELEASABLE", status=batch.status)
    if batch.status != BatchStatus.QUEUED and batch.failure_code is None:
        return Released(batch, [])
    moves, cancels, required = [], [], 0
    for row in held:
        pending = scenario is Scenario.KYC_PENDING
        refusal = not_payable(*(("pending", "pending") if pending else (row.status, row.kyc_status)))
        if refusal is None:
            required += row.amount_cents
            moves.append(Move(row.id, REASON, next_action_at=now + grace))
        else:
            why = "the driver can't be paid"
            cancels.append(Move(row.id, why, failure_code=refusal.code, failure_message=refusal.message))
    if required > available or scenario is Scenario.INSUFFICIENT_FUNDS:
        return _not_covered(connection, batch, available, required, now)
    batch = BatchRow._make(connection.execute(_RELEASED, {"id": batch_id, "now": now}).one())
    tell(connection, [batch], now, "batch.released")
    transition(connection, cancels, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)
    moved = transition(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now)
    if cancels:
        batch = locked(connection, wallet_id, batch_id) or batch
    return Released(batch, [row.id for row in moved.rows])


def release_due(
    connection: sa.Connection, batch_id: uuid.UUID, now: datetime, *, grace: timedelta
) -> Released | Refusal | None:
    """Releases a batch whose time has come, by the database's clock; None if it has not, or is done already."""
    wallet_id = connection.scalar(
        sa.text("""
            SELECT wallet_id FROM batches
            WHERE id = :id AND status = 'queued' AND scheduled_for <= clock_timestamp()
        """),
        {"id": batch_id},
    )
    return None if wallet_id is None else release(connection, wallet_id, batch_id, now, grace=grace)


def waiting(connection: sa.Connection, wallet_id: uuid.UUID) -> list[uuid.UUID]:
    """The wallet's batches that are not released and can be."""
    return list(
        connection.scalars(
            sa.text("""
                SELECT id FROM batches
                WHERE wallet_id = :wallet_id AND released_at IS NULL AND status IN ('queued', 'failed') ORDER BY id
            """),
            {"wallet_id": wallet_id},
        )
    )


def cancel(connection: sa.Connection, wallet_id: uuid.UUID, batch_id: uuid.UUID, now: datetime) -> None:
    """Calls a batch off that is not released, with its payouts."""
    ids = [row.id for row in connection.execute(_WAITING, {"id": batch_id, "wallet_id": wallet_id})]
    moves = [Move(payout_id, "canceled with its batch") for payout_id in ids]
    transition(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)


def locked(connection: sa.Connection, wallet_id: uuid.UUID, batch_id: uuid.UUID) -> BatchRow | None:
    """The wallet's batch, locked; None if it has none by that id."""
    row = connection.execute(
        sa.text(f"SELECT {BATCH_COLUMNS} FROM batches WHERE id = :id AND wallet_id = :wallet_id FOR UPDATE"),
        {"id": batch_id, "wallet_id": wallet_id},
    ).one_or_none()
    return None if row is None else BatchRow._make(row)


def unknown(reference: str) -> NotFound:
    """The refusal for a batch that this wallet does not have."""
    return NotFound(f"No batch {named(BATCH, reference)}", code="BATCH_NOT_FOUND")


def _not_covered(
    connection: sa.Connection, batch: BatchRow, available: int, required: int, now: datetime
) -> InsufficientFunds:
    message = "The wallet's available balance does not cover this batch"
    refusal = InsufficientFunds(message, available=available, required=required, missing=max(required - available, 0))
    if batch.scheduled_for is not None and batch.scheduled_for > now:
        return refusal  # asked for before its time: it stays queued, and is released then if the money is there
    sentence = f"{message}: {required} cents are needed, {available} are available"
    row = connection.execute(_NOT_COVERED, {"id": batch.id, "code": refusal.code, "message": sentence}).one()
    tell(connection, [BatchRow._make(row)], now, "batch.failed")
    return refusal
