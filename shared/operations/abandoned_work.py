"""What no longer goes on by itself: rows that wait for a person, and which dead letters still have work."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.operations import due_rows
from shared.platform.dead_letters import DeadLetter

ROWS_COUNTED_MAX: Final = 10_000


class AbandonedKind(NamedTuple):
    """A kind of rows that a person has to look at."""

    name: str
    what: str
    source: str
    """From where, and which; by an index, or from a small table."""
    since: str
    """The column that says since when."""
    command: str
    """How it goes on."""


ABANDONED_KINDS: Final = (
    AbandonedKind(
        "unresolved",
        "submissions past their key's lifetime that Paystream does not know: they may have been paid",
        "submissions WHERE status = 'unresolved'",
        "created_at",
        "ovnpay payouts resolve",
    ),
    AbandonedKind(
        "held",
        "payouts that are held, for something about them contradicts",
        "payouts WHERE held_reason IS NOT NULL",
        "updated_at",
        "ovnpay payouts resolve",
    ),
    AbandonedKind(
        "provider_events",
        "webhooks of Paystream's that contradict our record, or name a payment that we don't know",
        "provider_events WHERE status IN ('orphan', 'mismatch') AND wallet_id IS NOT NULL AND next_action_at IS NULL",
        "received_at",
        "ovnpay reconcile",
    ),
    AbandonedKind(
        "webhook_endpoints",
        "customers' webhooks that we have paused, for they failed for days or are gone: their events wait",
        "webhook_endpoints WHERE status = 'paused' AND paused_reason IN ('failing', 'gone') AND deleted_at IS NULL",
        "updated_at",
        "its owner activates it, and asks for POST /webhooks/.../redeliver",
    ),
)


class AbandonedCount(NamedTuple):
    """How many of a kind there are."""

    kind: AbandonedKind
    number: int
    """Counted up to 10,000."""
    oldest: datetime | None


def count_abandoned(connection: sa.Connection) -> list[AbandonedCount]:
    """All kinds, with those of which there are none."""
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
    """For each letter: how many of its rows still wait for what its actor does. 0: it was done since."""
    asked: dict[str, set[uuid.UUID]] = {}
    for letter in letters:
        asked.setdefault(letter.actor, set()).update(letter.row_ids)
    waiting = {actor: _waiting(connection, actor, row_ids) for actor, row_ids in asked.items()}
    return {letter.id: len(waiting[letter.actor].intersection(letter.row_ids)) for letter in letters}


def _waiting(connection: sa.Connection, actor: str, row_ids: set[uuid.UUID]) -> set[uuid.UUID]:
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
