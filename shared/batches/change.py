"""Changing batches before they are processed, and trying again what failed in them. No function here commits."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.batches.release import BatchRef
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.rows import PayoutRow
from shared.platform.errors import Conflict, DomainError
from shared.schema.batch_rows import BATCH_COLUMNS, BatchRow, batch_not_found, lock_batches
from shared.schema.payouts import BatchStatus, PayoutStatus
from shared.schema.scenarios import Scenario

CANCELED_REASON: Final = "canceled with its batch"


class RetriedBatch(NamedTuple):
    """What trying a batch's failed payouts again did."""

    batch: BatchRow
    """As it is now."""
    answers: dict[uuid.UUID, PayoutRow | DomainError]
    """For each of its failed payouts, in the order in which they were handed in."""


def _changeable(batch: BatchRow) -> bool:
    """Whether nothing of it has moved: it waits, or could not be released for lack of money."""
    return batch.status == BatchStatus.QUEUED or (batch.status == BatchStatus.FAILED and batch.failure_code is not None)


def cancel_queued_batches(
    connection: sa.Connection, asked: Sequence[BatchRef], now: datetime
) -> dict[uuid.UUID, BatchRow | DomainError]:
    """Calls off those of the batches that are not released, with their payouts; an answer for each."""
    waiting = connection.execute(
        sa.text("""
            SELECT id, batch_id FROM payouts
            WHERE batch_id = ANY(:ids) AND wallet_id = ANY(:wallets) AND status = 'validated' AND NOT reserved
            ORDER BY id FOR UPDATE
        """),
        {"ids": [one.id for one in asked], "wallets": [one.wallet_id for one in asked]},
    ).all()
    ledger.lock_wallets(connection, {one.wallet_id for one in asked})
    found = lock_batches(connection, asked)
    answers: dict[uuid.UUID, BatchRow | DomainError] = {}
    for one in asked:
        batch = found.get(one.id)
        if batch is None:
            answers[one.id] = batch_not_found(one.id)
        elif not _changeable(batch):
            answers[one.id] = Conflict(
                f"This batch can't be canceled any more: it is {batch.status}; its payouts may be, one by one",
                code="BATCH_NOT_CANCELABLE",
                status=batch.status,
            )
    going = {one.id: one for one in asked if one.id not in answers}
    moves = [Move(row.id, CANCELED_REASON) for row in waiting if row.batch_id in going]
    # The last payout's end makes the batch `canceled`.
    transition_payouts(connection, moves, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)
    return answers | dict(lock_batches(connection, going.values()))


def load_unreleased_batches(connection: sa.Connection, wallet_id: uuid.UUID) -> list[BatchRef]:
    """The wallet's batches that are not released and can be."""
    rows = connection.execute(
        sa.text("""
            SELECT id, wallet_id FROM batches
            WHERE wallet_id = :wallet_id AND released_at IS NULL AND status IN ('queued', 'failed') ORDER BY id
        """),
        {"wallet_id": wallet_id},
    )
    return [BatchRef(*row) for row in rows]


def set_batch_schedule(
    connection: sa.Connection, wallet_id: uuid.UUID, batch_id: uuid.UUID, scheduled_for: datetime | None
) -> BatchRow | DomainError:
    """Gives a batch that is not released another time, or none: then it waits until it is released by hand. One that
    could not be released for lack of money waits again.
    """
    batch = lock_batches(connection, [BatchRef(batch_id, wallet_id)]).get(batch_id)
    if batch is None:
        return batch_not_found(batch_id)
    if not _changeable(batch):
        return Conflict(
            f"Only a batch that is not released has a time to change: this one is {batch.status}",
            code="BATCH_NOT_RESCHEDULABLE",
            status=batch.status,
        )
    row = connection.execute(
        sa.text(f"""
            UPDATE batches SET status = 'queued', scheduled_for = :scheduled_for, next_action_at = :scheduled_for,
                               failure_code = NULL, failure_message = NULL
            WHERE id = :id RETURNING {BATCH_COLUMNS}
        """),
        {"id": batch_id, "scheduled_for": scheduled_for},
    ).one()
    return BatchRow._make(row)


def retry_failed_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    batch_id: uuid.UUID,
    now: datetime,
    *,
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
) -> RetriedBatch | DomainError:
    """Queues those of a batch's failed payouts again that can be paid and are covered; funds go in the order in which
    they were handed in. With none failed it changes nothing.
    """
    failed = connection.scalars(
        sa.text("""
            SELECT id FROM payouts WHERE batch_id = :id AND wallet_id = :wallet_id AND status = 'failed' ORDER BY id
        """),
        {"id": batch_id, "wallet_id": wallet_id},
    ).all()
    answers = retry_wallet_payouts(connection, wallet_id, failed, now, grace=grace, scenario=scenario)
    batch = lock_batches(connection, [BatchRef(batch_id, wallet_id)]).get(batch_id)
    return batch_not_found(batch_id) if batch is None else RetriedBatch(batch, {one: answers[one] for one in failed})
