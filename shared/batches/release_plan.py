"""Decide which batches a release covers, in the order requested, without touching the database."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.batches.rows import BatchRef, ReleasedBatch
from shared.payouts.lifecycle import Move
from shared.payouts.orders import payability_error
from shared.platform.errors import Conflict, DomainError, InsufficientFunds
from shared.schema.batch_rows import BatchRow, batch_not_found
from shared.schema.payouts import BatchStatus
from shared.schema.scenarios import Scenario

RELEASED_REASON: Final = "released with its batch"
NOT_COVERED_MESSAGE: Final = "The wallet's available balance does not cover this batch"


class BatchMoves(NamedTuple):
    """What a release does to a batch's payouts."""

    queued: list[Move]
    canceled: list[Move]
    """Payouts whose driver can't be paid any more."""
    required_cents: int
    """Cost of the queued ones."""


class ReleasePlan(NamedTuple):
    """What a release writes."""

    batches: list[uuid.UUID]
    canceled: list[Move]
    """Payouts of these batches that are canceled instead."""
    failures: list[dict[str, Any]]
    """Batches that the balance doesn't cover: `id`, `code` and `message`."""


def plan_moves(rows: Sequence[Any], due: datetime, scenario: Scenario) -> BatchMoves:
    """Return the moves of a batch's payouts; the rows have the driver's status too."""
    queued, canceled, required_cents = [], [], 0
    for row in rows:
        pending = scenario is Scenario.KYC_PENDING
        error = payability_error(*(("pending", "pending") if pending else (row.status, row.kyc_status)))
        if error is None:
            required_cents += row.amount_cents
            queued.append(Move(row.id, RELEASED_REASON, next_action_at=due))
        else:
            reason = "the driver can't be paid"
            canceled.append(Move(row.id, reason, failure_code=error.code, failure_message=error.message))
    return BatchMoves(queued, canceled, required_cents)


def plan_release(
    refs: Sequence[BatchRef],
    moves: Mapping[uuid.UUID, BatchMoves],
    available: Mapping[uuid.UUID, int],
    batches: Mapping[uuid.UUID, BatchRow],
    now: datetime,
    scenario: Scenario,
) -> tuple[ReleasePlan, dict[uuid.UUID, ReleasedBatch | DomainError]]:
    """Return the plan, and the results of the batches that it doesn't release. `available` is in cents, by wallet."""
    results: dict[uuid.UUID, ReleasedBatch | DomainError] = {}
    plan, left = ReleasePlan([], [], []), dict(available)
    for ref in refs:
        batch, batch_moves = batches.get(ref.id), moves[ref.id]
        if batch is None:
            results[ref.id] = batch_not_found(ref.id)
        elif batch.status == BatchStatus.CANCELED:
            code = "BATCH_NOT_RELEASABLE"
            results[ref.id] = Conflict("This batch was canceled", code=code, status=batch.status)
        elif batch.status != BatchStatus.QUEUED and batch.failure_code is None:
            results[ref.id] = ReleasedBatch(batch, [])
        elif batch_moves.required_cents <= left[ref.wallet_id] and scenario is not Scenario.INSUFFICIENT_FUNDS:
            left[ref.wallet_id] -= batch_moves.required_cents
            plan.batches.append(ref.id)
            plan.canceled.extend(batch_moves.canceled)
        else:
            results[ref.id] = _not_covered(batch, left[ref.wallet_id], batch_moves.required_cents, now, plan)
    return plan, results


def _not_covered(
    batch: BatchRow, available_cents: int, required_cents: int, now: datetime, plan: ReleasePlan
) -> InsufficientFunds:
    error = InsufficientFunds(
        NOT_COVERED_MESSAGE,
        available=available_cents,
        required=required_cents,
        missing=max(required_cents - available_cents, 0),
    )
    # A batch released ahead of its time stays queued: the money may be there in time.
    if batch.scheduled_for is None or batch.scheduled_for <= now:
        message = f"{NOT_COVERED_MESSAGE}: {required_cents} cents are needed, {available_cents} are available"
        plan.failures.append({"id": batch.id, "code": error.code, "message": message})
    return error
