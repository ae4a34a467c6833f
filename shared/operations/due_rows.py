"""Due rows: which rows the scheduler enqueues, and how it claims them.

Claiming a due row postpones it, so it is enqueued again if its message was lost, but not while a worker has it. Any
number of schedulers may claim at once.
"""

import uuid
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.events.claim import HAS_DUE_DELIVERY
from shared.events.queries import delivery_backlog
from shared.holds.conditions import HOLD_RECHECK_SECONDS, on_hold_condition
from shared.platform import task_queue
from shared.platform.task_queue import Task


class DueKind(NamedTuple):
    """Rows that can become due, and the task for them."""

    name: str
    table: str
    condition: str
    task: Task
    on_hold: str = "false"
    """SQL condition: an outgoing hold keeps the row from being processed."""


_PAYOUT_ON_HOLD: Final = on_hold_condition("payouts.wallet_id", "payouts.rail")
_UNSENT_ON_HOLD: Final = f"first_sent_at IS NULL AND {on_hold_condition('submissions.wallet_id', 'submissions.rail')}"
"""A submission that may be at the provider is enqueued despite a hold, to be looked up."""

BATCH_KIND: Final = DueKind("batches", "batches", "status = 'queued'", task_queue.RELEASE_BATCHES)
"""Claimed more often than the others: customers schedule batches to the second."""

OTHER_KINDS: Final = (
    DueKind("payouts_validated", "payouts", "status = 'validated' AND reserved", task_queue.QUEUE_PAYOUTS),
    DueKind("payouts_queued", "payouts", "status = 'queued'", task_queue.SUBMIT_PAYOUTS, _PAYOUT_ON_HOLD),
    DueKind("payouts_processing", "payouts", "status = 'processing'", task_queue.POLL_PAYOUTS),
    DueKind(
        "submissions_instant", "submissions", "rail = 'instant'", task_queue.SEND_INSTANT_SUBMISSIONS, _UNSENT_ON_HOLD
    ),
    DueKind("submissions", "submissions", "rail <> 'instant'", task_queue.SEND_SUBMISSIONS, _UNSENT_ON_HOLD),
    DueKind("provider_events", "provider_events", "true", task_queue.APPLY_PROVIDER_EVENTS),
    DueKind("drivers", "drivers", "true", task_queue.REGISTER_DRIVERS),
    DueKind("topups", "topups", "true", task_queue.REQUEST_TOPUPS),
)

WEBHOOK_KIND: Final = DueKind("webhooks", "webhook_endpoints", HAS_DUE_DELIVERY, task_queue.DELIVER_CUSTOMER_EVENTS)
"""Claimed by endpoint, so a dead endpoint's backlog costs one row. Writing an event enqueues nothing, to keep payouts
independent of their subscribers; endpoints are claimed several times a second instead."""

DUE_KINDS: Final = (BATCH_KIND, *OTHER_KINDS)
"""Kinds whose own rows are due; of webhooks, the deliveries are."""


class ClaimedRows(NamedTuple):
    ids: list[uuid.UUID]
    """Rows to enqueue."""
    due_count: int
    """Rows that were due, including those postponed because they are on hold."""


# Postpones due rows, oldest first. Locks them, and skips rows that another transaction has locked. The condition uses
# `statement_timestamp()` because `clock_timestamp()` can't be looked up in an index.
_CLAIM: Final = """
    WITH due AS (
        SELECT id, {kind.on_hold} AS on_hold FROM {kind.table}
        WHERE next_action_at <= statement_timestamp() AND {kind.condition}
        ORDER BY next_action_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE {kind.table} AS late
    SET next_action_at = clock_timestamp() + make_interval(
        secs => CASE WHEN on_hold THEN :on_hold_again_seconds ELSE :again_seconds END)
    FROM due WHERE late.id = due.id RETURNING late.id, on_hold
"""


def claim_due_rows(connection: sa.Connection, kind: DueKind, *, limit: int, again_seconds: float) -> ClaimedRows:
    """Claim at most `limit` due rows, oldest first, and make them due again in `again_seconds`."""
    rows = connection.execute(
        sa.text(_CLAIM.format(kind=kind)),
        {"limit": limit, "again_seconds": again_seconds, "on_hold_again_seconds": HOLD_RECHECK_SECONDS},
    ).all()
    return ClaimedRows([row.id for row in rows if not row.on_hold], len(rows))


# Number of due rows and how long the oldest has been due. No locks.
_BACKLOG: Final = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(next_action_at)), 0)
    FROM {kind.table} WHERE next_action_at <= statement_timestamp() AND {kind.condition}
"""


def due_backlog(connection: sa.Connection) -> dict[str, tuple[int, float]]:
    """Return the number of due rows and the seconds that the oldest has been due, by kind."""
    backlog = {}
    for kind in DUE_KINDS:
        row = connection.execute(sa.text(_BACKLOG.format(kind=kind))).one()
        backlog[kind.name] = (int(row[0]), float(row[1]))
    backlog[WEBHOOK_KIND.name] = delivery_backlog(connection)
    return backlog
