"""Rows that wait for a person, and dead letters whose rows are still due."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.operations import due_rows
from shared.platform.task_queue.dead_letters import DeadLetter

ROWS_COUNTED_MAX: Final = 10_000


class AbandonedKind(NamedTuple):
    """Rows that wait for a person."""

    name: str
    what: str
    source: str
    """Table and condition; uses an index or a small table."""
    since: str
    """The column with the start of the wait."""
    command: str
    """What the person does."""


ABANDONED_KINDS: Final = (
    AbandonedKind(
        "unresolved",
        "submissions that Paystream does not find after their key expired: they may have been paid",
        "submissions WHERE status = 'unresolved'",
        "created_at",
        "ovnpay payouts resolve",
    ),
    AbandonedKind(
        "held",
        "payouts on hold, because Paystream's report contradicts our record",
        "payouts WHERE held_reason IS NOT NULL",
        "updated_at",
        "ovnpay payouts resolve",
    ),
    AbandonedKind(
        "provider_events",
        "webhooks of Paystream that contradict our record, or are for an unknown payment",
        "provider_events WHERE status IN ('orphan', 'mismatch') AND wallet_id IS NOT NULL AND next_action_at IS NULL",
        "received_at",
        "ovnpay reconcile",
    ),
    AbandonedKind(
        "webhook_endpoints",
        "customers' webhook endpoints paused after days of failures, or gone (410): their events wait",
        "webhook_endpoints WHERE status = 'paused' AND paused_reason IN ('failing', 'gone') AND deleted_at IS NULL",
        "updated_at",
        "its owner activates it and calls POST /webhooks/.../redeliver",
    ),
)


class AbandonedCount(NamedTuple):
    """The number of rows of a kind."""

    kind: AbandonedKind
    number: int
    """Counted up to `ROWS_COUNTED_MAX`."""
    oldest: datetime | None


def count_abandoned(connection: sa.Connection) -> list[AbandonedCount]:
    """Count all kinds, those without rows included."""
    found = []
    for kind in ABANDONED_KINDS:
        row = connection.execute(
            sa.text(f"""
                SELECT count(*), min(since) FROM (SELECT {kind.since} AS since FROM {kind.source} LIMIT :most) AS found
            """),
            {"most": ROWS_COUNTED_MAX},
        ).one()
        found.append(AbandonedCount(kind, int(row[0]), row[1]))
    return found


def count_pending_rows(connection: sa.Connection, letters: Sequence[DeadLetter]) -> dict[str, int]:
    """Return the number of rows of each letter that still wait for its actor; 0: all were processed since."""
    row_ids_by_actor: dict[str, set[uuid.UUID]] = {}
    for letter in letters:
        row_ids_by_actor.setdefault(letter.actor, set()).update(letter.row_ids)
    waiting = {actor: _load_waiting(connection, actor, row_ids) for actor, row_ids in row_ids_by_actor.items()}
    return {letter.id: len(waiting[letter.actor].intersection(letter.row_ids)) for letter in letters}


def _load_waiting(connection: sa.Connection, actor: str, row_ids: set[uuid.UUID]) -> set[uuid.UUID]:
    if actor == due_rows.WEBHOOK_KIND.task.actor:
        statement = """
            SELECT DISTINCT endpoint_id FROM webhook_deliveries
            WHERE endpoint_id = ANY(:ids) AND next_action_at IS NOT NULL
        """
        return set(connection.scalars(sa.text(statement), {"ids": list(row_ids)}))
    found: set[uuid.UUID] = set()
    for kind in due_rows.DUE_KINDS:
        if kind.task.actor == actor:
            statement = f"""
                SELECT id FROM {kind.table} WHERE id = ANY(:ids) AND next_action_at IS NOT NULL AND {kind.condition}
            """
            found.update(connection.scalars(sa.text(statement), {"ids": list(row_ids)}))
    return found
