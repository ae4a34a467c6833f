"""Releasing batches: the money of each is reserved, all or nothing, and its payouts set out.

Lock order as everywhere: payouts, then the wallets, then the batches. Whoever comes second finds them released.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.identity import audit
from shared.identity.audit import Actor
from shared.payouts.counters import write_batch_events
from shared.payouts.lifecycle import Move, StartedTransition, finish_transitions, start_transition, transition_payouts
from shared.payouts.orders import payability_error
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, DomainError, InsufficientFunds
from shared.platform.ids import BATCH, public_id
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.audit import Action
from shared.schema.batch_rows import (
    BATCH_COLUMNS,
    BatchRow,
    batch_not_found,
    load_batches_query,
    lock_batches,
    lock_batches_query,
)
from shared.schema.payouts import BatchStatus, PayoutStatus
from shared.schema.scenarios import Scenario

RELEASED_REASON: Final = "released with its batch"
NOT_COVERED_MESSAGE: Final = "The wallet's available balance does not cover this batch"

_WAITING = sa.text("""
    SELECT payouts.id, payouts.batch_id, payouts.amount_cents, drivers.status, drivers.kyc_status
    FROM json_to_recordset(CAST(:asked AS json)) AS asked (id uuid, wallet_id uuid)
    JOIN payouts ON payouts.batch_id = asked.id AND payouts.wallet_id = asked.wallet_id
    JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.status = 'validated' AND NOT payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts
""")

_RELEASED = sa.text(f"""
    UPDATE batches SET status = 'processing', released_at = :now, next_action_at = NULL,
                       failure_code = NULL, failure_message = NULL
    WHERE id = ANY(:ids) RETURNING {BATCH_COLUMNS}
""")

_NOT_COVERED = sa.text(f"""
    UPDATE batches SET status = 'failed', next_action_at = NULL, failure_code = missing.code,
                       failure_message = missing.message
    FROM json_to_recordset(CAST(:missing AS json)) AS missing (id uuid, code text, message text)
    WHERE batches.id = missing.id RETURNING {BATCH_COLUMNS}
""")


class BatchRef(NamedTuple):
    """A batch to act on, in the wallet that asks."""

    id: uuid.UUID
    wallet_id: uuid.UUID


class ReleasedBatch(NamedTuple):
    """What a release did to one batch."""

    batch: BatchRow
    """As it is now; unchanged where it had been released before."""
    payout_ids: list[uuid.UUID]
    """Payouts to ring for."""


class _Plan(NamedTuple):
    """What is to be written."""

    batches: list[uuid.UUID]
    """Those that are released."""
    cancels: list[Move]
    missing: list[dict[str, Any]]
    """Those that are not, for lack of money, and what to say of them."""


class _OtherThanExpected(Exception):
    """What was written ahead is not what is to be done."""


def release_queued_batches(
    connection: sa.Connection,
    asked: Sequence[BatchRef],
    now: datetime,
    *,
    by: Mapping[uuid.UUID, Actor],
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
    due_only: bool = False,
) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    """Releases those of the batches that wait, or that could not be released before; an answer for each. Again, it
    changes nothing. Funds go in the order asked. `by` says for each wallet whom the audit log names.
    With `due_only`, those that are not due any more, once we hold them, are left alone and out of the answer.

    A refusal for lack of money is written down: the batch is `failed` and says what is missing, nothing of it has
    moved, and it can be released once the wallet is funded. One whose time is still to come stays `queued`. Payouts
    whose driver can't be paid any more are canceled.
    """
    values = {"asked": encode_rows(one._asdict() for one in asked)}
    waiting: defaultdict[uuid.UUID, list[Any]] = defaultdict(list)
    for row in connection.execute(_WAITING, values):
        waiting[row.batch_id].append(row)
    steps = {one.id: _steps(waiting[one.id], now + grace, scenario) for one in asked}
    run = _Run(connection, asked, steps, now, by, scenario, due_only)
    try:
        with connection.begin_nested():
            return _carry_out(run, _expected(connection, run))
    except _OtherThanExpected:
        return _carry_out(run, None)


class _Run(NamedTuple):
    """A release under way."""

    connection: sa.Connection
    asked: Sequence[BatchRef]
    steps: "Mapping[uuid.UUID, _Steps]"
    now: datetime
    by: Mapping[uuid.UUID, Actor]
    scenario: Scenario
    due_only: bool


def _expected(connection: sa.Connection, run: _Run) -> list[uuid.UUID]:
    """The batches that will be released, if nothing changes until their wallets are locked."""
    [left, batches] = run_queries(
        connection, ledger.available_balances_query({one.wallet_id for one in run.asked}), load_batches_query(run.asked)
    )
    return _decided(run, run.asked, left, batches)[0].batches


def _carry_out(run: _Run, expected: list[uuid.UUID] | None) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    """Releases what is to be released. What is expected is written ahead, so that the wallets are locked for the
    ledger's part alone: a batch's payouts take longer, and everybody else's of the wallet would wait for them.

    Raises:
        _OtherThanExpected: something has changed; what was written must be taken back.

    """
    connection, asked, ahead = run.connection, run.asked, None
    if expected is not None:
        ahead = _set_out(run, expected)
    [left, batches] = run_queries(
        connection, ledger.lock_wallets_query({one.wallet_id for one in asked}), lock_batches_query(asked)
    )
    if run.due_only:  # while we waited for the locks one may have been moved to another day, or tried by somebody else
        due = _due(connection, batches)
        asked = [one for one in asked if one.id in due]
    plan, answers = _decided(run, asked, left, batches)
    if expected is not None and plan.batches != expected:
        raise _OtherThanExpected
    return answers | _written(run, plan, ahead or _set_out(run, plan.batches), batches)


def _set_out(run: _Run, batches: Sequence[uuid.UUID]) -> StartedTransition:
    """The batches' payouts take their step, which is not booked yet."""
    moves = [move for batch_id in batches for move in run.steps[batch_id].moves]
    return start_transition(run.connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, run.now)


def _decided(
    run: _Run, asked: Sequence[BatchRef], left: Mapping[uuid.UUID, int], batches: Mapping[uuid.UUID, BatchRow]
) -> tuple[_Plan, dict[uuid.UUID, ReleasedBatch | DomainError]]:
    """What is to be done, and the answers for those of which nothing is released."""
    answers: dict[uuid.UUID, ReleasedBatch | DomainError] = {}
    plan, left = _Plan([], [], []), dict(left)
    for one in asked:
        batch, steps = batches.get(one.id), run.steps[one.id]
        if batch is None:
            answers[one.id] = batch_not_found(one.id)
        elif batch.status == BatchStatus.CANCELED:
            code = "BATCH_NOT_RELEASABLE"
            answers[one.id] = Conflict("This batch was canceled", code=code, status=batch.status)
        elif batch.status != BatchStatus.QUEUED and batch.failure_code is None:
            answers[one.id] = ReleasedBatch(batch, [])
        elif steps.required <= left[one.wallet_id] and run.scenario is not Scenario.INSUFFICIENT_FUNDS:
            left[one.wallet_id] -= steps.required
            plan.batches.append(one.id)
            plan.cancels.extend(steps.cancels)
        else:
            answers[one.id] = _not_covered(batch, left[one.wallet_id], steps.required, run.now, plan)
    return plan, answers


def release_due_batches(
    connection: sa.Connection, batch_ids: Sequence[uuid.UUID], now: datetime, *, grace: timedelta
) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    """Releases those of the batches whose time has come, by the database's clock, in the order of their times; the
    others are not in the answer.
    """
    rows = connection.execute(
        sa.text("""
            SELECT batches.id, wallet_id, organization_id FROM batches JOIN wallets ON wallets.id = wallet_id
            WHERE batches.id = ANY(:ids) AND status = 'queued' AND scheduled_for <= clock_timestamp()
            ORDER BY scheduled_for, batches.id
        """),
        {"ids": list(batch_ids)},
    ).all()
    if not rows:
        return {}
    by = {row.wallet_id: audit.system_actor(row.organization_id, row.wallet_id) for row in rows}
    asked = [BatchRef(row.id, row.wallet_id) for row in rows]
    return release_queued_batches(connection, asked, now, by=by, grace=grace, due_only=True)


def _due(connection: sa.Connection, batches: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the batches, which we hold, that wait for a time that has come."""
    found = connection.scalars(
        sa.text("""
            SELECT id FROM batches
            WHERE id = ANY(:ids) AND status = 'queued' AND scheduled_for <= clock_timestamp()
        """),
        {"ids": list(batches)},
    )
    return set(found)


def load_release_slices(
    connection: sa.Connection, batch_ids: Sequence[uuid.UUID], *, payouts_most: int
) -> list[list[uuid.UUID]]:
    """The batches in groups of at most that many payouts, or of one batch: a transaction for each, so that a wallet is
    not locked for longer than its largest batch takes.
    """
    rows = connection.execute(
        sa.text("SELECT id, payout_count FROM batches WHERE id = ANY(:ids) ORDER BY scheduled_for, id"),
        {"ids": list(batch_ids)},
    )
    groups: list[list[uuid.UUID]] = []
    size = payouts_most
    for row in rows:
        size += row.payout_count
        if size > payouts_most or not groups:
            groups.append([])
            size = row.payout_count
        groups[-1].append(row.id)
    return groups


class _Steps(NamedTuple):
    """What a release does to a batch's payouts."""

    moves: list[Move]
    """Those that set out."""
    cancels: list[Move]
    """Those that are canceled instead."""
    required: int
    """What the first ones cost, in cents."""


def _steps(rows: Sequence[Any], due: datetime, scenario: Scenario) -> _Steps:
    moves, cancels, required = [], [], 0
    for row in rows:
        pending = scenario is Scenario.KYC_PENDING
        refusal = payability_error(*(("pending", "pending") if pending else (row.status, row.kyc_status)))
        if refusal is None:
            required += row.amount_cents
            moves.append(Move(row.id, RELEASED_REASON, next_action_at=due))
        else:
            why = "the driver can't be paid"
            cancels.append(Move(row.id, why, failure_code=refusal.code, failure_message=refusal.message))
    return _Steps(moves, cancels, required)


def _not_covered(batch: BatchRow, available: int, required: int, now: datetime, plan: _Plan) -> InsufficientFunds:
    refusal = InsufficientFunds(
        NOT_COVERED_MESSAGE, available=available, required=required, missing=max(required - available, 0)
    )
    if batch.scheduled_for is None or batch.scheduled_for <= now:
        sentence = f"{NOT_COVERED_MESSAGE}: {required} cents are needed, {available} are available"
        plan.missing.append({"id": batch.id, "code": refusal.code, "message": sentence})
    # Else it was asked for before its time: it stays queued, and is released then if the money is there.
    return refusal


def _written(
    run: _Run, plan: _Plan, set_out: StartedTransition, batches: Mapping[uuid.UUID, BatchRow]
) -> dict[uuid.UUID, ReleasedBatch]:
    """Writes the plan down; an answer for each batch that is released."""
    connection, now, by = run.connection, run.now, run.by
    if plan.missing:
        failed = [
            BatchRow._make(row) for row in connection.execute(_NOT_COVERED, {"missing": encode_rows(plan.missing)})
        ]
        write_batch_events(connection, failed, now, "batch.failed")
        audit.record_entries(connection, [_entry(by, batches[row.id], row) for row in failed], now)
    if not plan.batches:
        return {}
    released: dict[uuid.UUID, BatchRow] = {}

    def read(rows: Sequence[Any]) -> None:
        released.update((row[0], BatchRow._make(row)) for row in rows)

    finish_transitions(connection, [set_out], now, Query(_RELEASED, {"ids": plan.batches, "now": now}, read))
    write_batch_events(connection, [released[batch_id] for batch_id in plan.batches], now, "batch.released")
    audit.record_entries(connection, [_entry(by, batches[row.id], row) for row in released.values()], now)
    if plan.cancels:
        transition_payouts(connection, plan.cancels, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)
        # a batch all of whose payouts were canceled has ended
        released = lock_batches(connection, [BatchRef(row.id, row.wallet_id) for row in released.values()])
    moved: defaultdict[uuid.UUID | None, list[uuid.UUID]] = defaultdict(list)
    for row in set_out.rows:
        moved[row.batch_id].append(row.id)
    return {batch_id: ReleasedBatch(released[batch_id], moved[batch_id]) for batch_id in plan.batches}


def _entry(by: Mapping[uuid.UUID, Actor], before: BatchRow, after: BatchRow) -> audit.Entry:
    """What the audit log says of a release, or of an attempt at one."""
    was, is_ = audit.changed_fields(
        {"status": before.status, "failure": before.failure_code},
        {"status": after.status, "failure": after.failure_code},
    )
    return audit.Entry(by[after.wallet_id], Action.BATCH_RELEASE, public_id(BATCH, after.id), was, is_)
