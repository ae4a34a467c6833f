"""Due rows: what the scheduler's tick looks at, and how it claims what is due.

A row that is due is rung for and put off by `again_seconds`, so that it is rung for again if nobody heard, and not
every second while somebody is at it. Any number of schedulers may do this at once.
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
    """Rows that can become due, and the bell to ring for them."""

    name: str
    table: str
    condition: str
    task: Task
    held: str = "false"
    """Whether nothing can be done for the row, for its money is held."""


_PAYOUT_HELD: Final = on_hold_condition("payouts.wallet_id", "payouts.rail")
_SENDING_HELD: Final = f"first_sent_at IS NULL AND {on_hold_condition('submissions.wallet_id', 'submissions.rail')}"
"""What may be at the provider already is rung for all the same, and then looked up."""

BATCH_KIND: Final = DueKind("batches", "batches", "status = 'queued'", task_queue.RELEASE_BATCHES)
"""Apart from the others, for customers have named their second: looked at several times in each."""

OTHER_KINDS: Final = (
    DueKind("payouts_validated", "payouts", "status = 'validated' AND reserved", task_queue.QUEUE_PAYOUTS),
    DueKind("payouts_queued", "payouts", "status = 'queued'", task_queue.SUBMIT_PAYOUTS, _PAYOUT_HELD),
    DueKind("payouts_processing", "payouts", "status = 'processing'", task_queue.POLL_PAYOUTS),
    DueKind(
        "submissions_instant", "submissions", "rail = 'instant'", task_queue.SEND_INSTANT_SUBMISSIONS, _SENDING_HELD
    ),
    DueKind("submissions", "submissions", "rail <> 'instant'", task_queue.SEND_SUBMISSIONS, _SENDING_HELD),
    DueKind("provider_events", "provider_events", "true", task_queue.APPLY_PROVIDER_EVENTS),
    DueKind("drivers", "drivers", "true", task_queue.REGISTER_DRIVERS),
    DueKind("topups", "topups", "true", task_queue.REQUEST_TOPUPS),
)

WEBHOOK_KIND: Final = DueKind("webhooks", "webhook_endpoints", HAS_DUE_DELIVERY, task_queue.DELIVER_CUSTOMER_EVENTS)
"""Rung for by endpoint: however much waits for a dead one, it costs one look at it. No bell is rung where events are
written, so that no payout has to know who listens; it is looked for several times a second instead."""

# Not by `clock_timestamp()`, which may change from row to row, so that no index is looked up by it: with 40,000 payouts
# at the provider a tick took 0.6 s to see that none of them was due.
DUE_KINDS: Final = (BATCH_KIND, *OTHER_KINDS)
"""Those whose rows are what is due; of webhooks that is their deliveries."""


class ClaimedRows(NamedTuple):
    """What was due."""

    ids: list[uuid.UUID]
    """Rows to ring for."""
    looked_at: int
    """How many were due, with those whose money is held: those are left alone for a while."""


def claim_due_rows(connection: sa.Connection, kind: DueKind, *, limit: int, again_seconds: float) -> ClaimedRows:
    """At most `limit` rows that are due, oldest first; each is due again in `again_seconds`."""
    rows = connection.execute(
        sa.text(f"""
            WITH due AS (
                SELECT id, {kind.held} AS held FROM {kind.table}
                WHERE next_action_at <= statement_timestamp() AND {kind.condition}
                ORDER BY next_action_at LIMIT :limit FOR UPDATE SKIP LOCKED
            )
            UPDATE {kind.table} AS late
            SET next_action_at = clock_timestamp() + make_interval(
                secs => CASE WHEN held THEN :held_again_seconds ELSE :again_seconds END)
            FROM due WHERE late.id = due.id RETURNING late.id, held
        """),
        {"limit": limit, "again_seconds": again_seconds, "held_again_seconds": HOLD_RECHECK_SECONDS},
    ).all()
    return ClaimedRows([row.id for row in rows if not row.held], len(rows))


def due_backlog(connection: sa.Connection) -> dict[str, tuple[int, float]]:
    """For each kind: how many rows are due, and how long the oldest has been, in seconds."""
    found = {}
    for kind in DUE_KINDS:
        row = connection.execute(
            sa.text(f"""
                SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(next_action_at)), 0)
                FROM {kind.table} WHERE next_action_at <= statement_timestamp() AND {kind.condition}
            """)
        ).one()
        found[kind.name] = (int(row[0]), float(row[1]))
    found[WEBHOOK_KIND.name] = delivery_backlog(connection)
    return found
