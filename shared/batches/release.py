"""Release batches: reserve the money of each, all or nothing, and queue its payouts."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.batches.release_plan import BatchMoves, ReleasePlan, plan_moves, plan_release
from shared.batches.rows import BatchRef, ReleasedBatch
from shared.identity import audit
from shared.identity.audit import Actor
from shared.payouts.counters import write_batch_events
from shared.payouts.lifecycle import StartedTransition, finish_transitions, start_transition, transition_payouts
from shared.platform.database import encode_rows
from shared.platform.errors import DomainError
from shared.platform.ids import BATCH, public_id
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.audit import Action
from shared.schema.batch_rows import BATCH_COLUMNS, BatchRow, load_batches_query, lock_batches, lock_batches_query
from shared.schema.payouts import PayoutStatus
from shared.schema.scenarios import Scenario

# Locks the batches' unreleased payouts in order of id, with their drivers' statuses.
_LOCK_PAYOUTS: Final = sa.text("""
    SELECT payouts.id, payouts.batch_id, payouts.amount_cents, drivers.status, drivers.kyc_status
    FROM json_to_recordset(CAST(:refs AS json)) AS input (id uuid, wallet_id uuid)
    JOIN payouts ON payouts.batch_id = input.id AND payouts.wallet_id = input.wallet_id
    JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.status = 'validated' AND NOT payouts.reserved
    ORDER BY payouts.id FOR UPDATE OF payouts
""")

# Marks locked batches as released.
_MARK_RELEASED: Final = sa.text(f"""
    UPDATE batches SET status = 'processing', released_at = :now, next_action_at = NULL,
                       failure_code = NULL, failure_message = NULL
    WHERE id = ANY(:ids) RETURNING {BATCH_COLUMNS}
""")

# Marks locked batches as failed for lack of money.
_MARK_FAILED: Final = sa.text(f"""
    UPDATE batches SET status = 'failed', next_action_at = NULL, failure_code = failure.code,
                       failure_message = failure.message
    FROM json_to_recordset(CAST(:failures AS json)) AS failure (id uuid, code text, message text)
    WHERE batches.id = failure.id RETURNING {BATCH_COLUMNS}
""")

# Those of the locked batches that are still due.
_STILL_DUE: Final = sa.text("""
    SELECT id FROM batches WHERE id = ANY(:ids) AND status = 'queued' AND scheduled_for <= clock_timestamp()
""")


class _Release(NamedTuple):
    connection: sa.Connection
    refs: Sequence[BatchRef]
    moves: Mapping[uuid.UUID, BatchMoves]
    now: datetime
    by: Mapping[uuid.UUID, Actor]
    scenario: Scenario
    due_only: bool


class _PlanChanged(Exception):
    """The plan changed before the locks."""


def release_queued_batches(
    connection: sa.Connection,
    refs: Sequence[BatchRef],
    now: datetime,
    *,
    by: Mapping[uuid.UUID, Actor],
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
    due_only: bool = False,
) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    """Release the batches that are queued or failed for lack of money, in this order; return a result for each.

    `by` is the actor for the audit log, by wallet. With `due_only`, batches that are not due under the lock are
    skipped. A batch that the balance doesn't cover becomes `failed`, or stays `queued` until its time. Payouts whose
    driver can't be paid are canceled.
    """
    waiting: defaultdict[uuid.UUID, list[Any]] = defaultdict(list)
    for row in connection.execute(_LOCK_PAYOUTS, {"refs": encode_rows(ref._asdict() for ref in refs)}):
        waiting[row.batch_id].append(row)
    moves = {ref.id: plan_moves(waiting[ref.id], now + grace, scenario) for ref in refs}
    release = _Release(connection, refs, moves, now, by, scenario, due_only)
    try:
        with connection.begin_nested():
            return _carry_out(release, _expected_batches(release))
    except _PlanChanged:
        return _carry_out(release, None)


# What will be released if nothing changes before the wallets are locked.
def _expected_batches(release: _Release) -> list[uuid.UUID]:
    [available, batches] = run_queries(
        release.connection,
        ledger.available_balances_query({ref.wallet_id for ref in release.refs}),
        load_batches_query(release.refs),
    )
    return _plan(release, release.refs, available, batches)[0].batches


# The payouts of the expected batches are written before the wallets are locked: they take longer than the ledger's
# part, and other payouts of the wallet would wait.
def _carry_out(release: _Release, expected: list[uuid.UUID] | None) -> dict[uuid.UUID, ReleasedBatch | DomainError]:
    connection, refs, started = release.connection, release.refs, None
    if expected is not None:
        started = _queue_payouts(release, expected)
    [available, batches] = run_queries(
        connection, ledger.lock_wallets_query({ref.wallet_id for ref in refs}), lock_batches_query(refs)
    )
    if release.due_only:  # another transaction may have rescheduled or released one before the locks
        due = _still_due(connection, batches)
        refs = [ref for ref in refs if ref.id in due]
    plan, results = _plan(release, refs, available, batches)
    if expected is not None and plan.batches != expected:
        raise _PlanChanged
    return results | _write_plan(release, plan, started or _queue_payouts(release, plan.batches), batches)


def _plan(
    release: _Release,
    refs: Sequence[BatchRef],
    available: Mapping[uuid.UUID, int],
    batches: Mapping[uuid.UUID, BatchRow],
) -> tuple[ReleasePlan, dict[uuid.UUID, ReleasedBatch | DomainError]]:
    return plan_release(refs, release.moves, available, batches, release.now, release.scenario)


def _queue_payouts(release: _Release, batch_ids: Sequence[uuid.UUID]) -> StartedTransition:
    moves = [move for batch_id in batch_ids for move in release.moves[batch_id].queued]
    return start_transition(release.connection, moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, release.now)


def _still_due(connection: sa.Connection, batch_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    return set(connection.scalars(_STILL_DUE, {"ids": list(batch_ids)}))


def _write_plan(
    release: _Release, plan: ReleasePlan, started: StartedTransition, before: Mapping[uuid.UUID, BatchRow]
) -> dict[uuid.UUID, ReleasedBatch]:
    connection, now = release.connection, release.now
    if plan.failures:
        rows = connection.execute(_MARK_FAILED, {"failures": encode_rows(plan.failures)})
        failed = [BatchRow._make(row) for row in rows]
        write_batch_events(connection, failed, now, "batch.failed")
        _audit(release, before, failed)
    if not plan.batches:
        return {}
    released: dict[uuid.UUID, BatchRow] = {}

    def read(rows: Sequence[Any]) -> None:
        released.update((row[0], BatchRow._make(row)) for row in rows)

    finish_transitions(connection, [started], now, Query(_MARK_RELEASED, {"ids": plan.batches, "now": now}, read))
    write_batch_events(connection, [released[batch_id] for batch_id in plan.batches], now, "batch.released")
    _audit(release, before, released.values())
    if plan.canceled:
        transition_payouts(connection, plan.canceled, PayoutStatus.VALIDATED, PayoutStatus.CANCELED, now)
        # A batch whose payouts were all canceled has ended.
        released = lock_batches(connection, [BatchRef(row.id, row.wallet_id) for row in released.values()])
    queued: defaultdict[uuid.UUID | None, list[uuid.UUID]] = defaultdict(list)
    for row in started.rows:
        queued[row.batch_id].append(row.id)
    return {batch_id: ReleasedBatch(released[batch_id], queued[batch_id]) for batch_id in plan.batches}


def _audit(release: _Release, before: Mapping[uuid.UUID, BatchRow], after: Iterable[BatchRow]) -> None:
    entries = []
    for row in after:
        was, is_ = audit.changed_fields(
            {"status": before[row.id].status, "failure": before[row.id].failure_code},
            {"status": row.status, "failure": row.failure_code},
        )
        actor = release.by[row.wallet_id]
        entries.append(audit.Entry(actor, Action.BATCH_RELEASE, public_id(BATCH, row.id), was, is_))
    audit.record_entries(release.connection, entries, release.now)
