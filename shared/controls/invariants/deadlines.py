"""Nothing is in progress for longer than possible: a table of deadlines that find what is lost, not what is late.

Rows that wait because a person decided so have no deadline.
"""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.controls.invariants.invariant import SLICE_VIOLATIONS_MAX, Invariant, KeySlice
from shared.controls.invariants.subjects import WHOLE_DATABASE
from shared.holds.conditions import unheld_since_expression
from shared.platform.ids import BATCH, LOG, PAYOUT, SUBMISSION, TRANSACTION, first_id_at, public_id

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class Deadline(NamedTuple):
    """How long rows may stay in a state."""

    state: str
    """As in "it is queued"."""
    limit: timedelta
    reason: str
    prefix: str
    """Of the ids that a violation shows."""
    table: str
    condition: str
    since: str
    """The column with the start of the state."""


_NO_NEXT_ACTION: Final = """
    reserved AND next_action_at IS NULL AND held_reason IS NULL AND NOT EXISTS (
        SELECT FROM submissions WHERE submissions.id = submission_id
               AND (submissions.next_action_at IS NOT NULL OR submissions.status = 'unresolved'))
"""


def _processing(rail: str, limit: timedelta, reason: str) -> Deadline:
    condition = f"status = 'processing' AND rail = '{rail}' AND held_reason IS NULL"
    return Deadline(f"it is processing by {rail}", limit, reason, PAYOUT, "payouts", condition, "updated_at")


DEADLINES: Final = (
    Deadline(
        "it is validated, with its money reserved",
        DAY,
        "a worker queues it within a second, the scheduler's tick retries every few seconds",
        PAYOUT,
        "payouts",
        "status = 'validated' AND reserved AND held_reason IS NULL",
        "updated_at",
    ),
    Deadline(
        "it is queued",
        DAY,
        "dispatch waits for Paystream's hourly limit, and not longer",
        PAYOUT,
        "payouts",
        "status = 'queued' AND held_reason IS NULL",
        "updated_at",
    ),
    _processing("instant", 2 * DAY, "it takes seconds; a lost response is looked up a day later, when its key expires"),
    _processing("same_day", 5 * DAY, "a business day, a long weekend, and an hour for a lost webhook"),
    _processing("standard", 12 * DAY, "four business days, holidays, and polling from the fourth day on"),
    Deadline(
        "it is on hold",
        5 * DAY,
        "a person looks at it within a business day",
        PAYOUT,
        "payouts",
        "held_reason IS NOT NULL",
        "held_at",
    ),
    Deadline(
        "its outcome is unknown",
        2 * DAY,
        "it is sent again until its key expires after a day, then looked up",
        SUBMISSION,
        "submissions",
        "status IN ('prepared', 'unknown') AND next_action_at IS NOT NULL",
        "created_at",
    ),
    Deadline(
        "it is in progress, but has no next action",
        HOUR,
        "everything that proceeds without a person has a next action",
        PAYOUT,
        "payouts",
        f"status IN ('validated', 'queued', 'processing') AND {_NO_NEXT_ACTION}",
        "updated_at",
    ),
    Deadline(
        "Paystream does not find it",
        5 * DAY,
        "a person asks Paystream within a business day",
        SUBMISSION,
        "submissions",
        "status = 'unresolved'",
        "created_at",
    ),
    Deadline(
        "it is not released and past its scheduled time",
        6 * HOUR,
        "a batch is released within a second of its time",
        BATCH,
        "batches",
        "status = 'queued' AND scheduled_for IS NOT NULL AND next_action_at IS NOT NULL",
        "scheduled_for",
    ),
    Deadline(
        "it has a scheduled time, but no next action",
        timedelta(0),
        "a scheduled batch is due at its time",
        BATCH,
        "batches",
        "status = 'queued' AND scheduled_for IS NOT NULL AND next_action_at IS NULL",
        "created_at",
    ),
    Deadline(
        "the webhook is not applied",
        2 * DAY,
        "it is applied within a second; one for an unknown payment is given up after a day",
        LOG,
        "provider_events",
        "next_action_at IS NOT NULL",
        "received_at",
    ),
    Deadline(
        "the top-up is pending",
        12 * DAY,
        "four business days, and holidays",
        TRANSACTION,
        "topups",
        "status = 'pending'",
        "created_at",
    ),
)


def _past_deadline_query(deadline: Deadline) -> sa.TextClause:
    """Select rows past a deadline; it counts from the end of the last outgoing hold."""
    since = deadline.since
    if deadline.table in ("payouts", "submissions", "batches"):
        since = f"greatest({since}, {unheld_since_expression(f'{deadline.table}.wallet_id', f'{deadline.table}.rail')})"
    # Ids are ordered by time: of many payouts in progress only the old ones are read.
    old = "id < :made_before AND " if deadline.table == "payouts" else ""
    of_wallets = "(wallet_id IS NULL OR wallet_id = ANY(:ids))" if deadline.prefix is LOG else "wallet_id = ANY(:ids)"
    return sa.text(f"""
        SELECT wallet_id, id, since FROM {deadline.table} CROSS JOIN LATERAL (SELECT {since} AS since) AS counted
        WHERE {old}{of_wallets} AND {deadline.condition} AND since < :before
        ORDER BY since LIMIT {SLICE_VIOLATIONS_MAX}
    """)


_QUERIES: Final = tuple((deadline, _past_deadline_query(deadline)) for deadline in DEADLINES)


def _find(connection: sa.Connection, key_slice: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    for deadline, query in _QUERIES:
        before = key_slice.now - deadline.limit
        values = {"ids": list(key_slice.keys), "before": before}
        if deadline.table == "payouts":
            values["made_before"] = first_id_at(before)
        for row in connection.execute(query, values):
            yield (
                row.wallet_id,
                f"{public_id(deadline.prefix, row.id)}: {deadline.state} since {row.since:%Y-%m-%d %H:%M} UTC, at most "
                f"{_duration(deadline.limit)} ({deadline.reason})",
            )


def _duration(limit: timedelta) -> str:
    return f"{limit.days} days" if limit >= 2 * DAY else f"{limit // HOUR} hours"


INVARIANT: Final = Invariant("deadlines", "Nothing is in progress for longer than possible", WHOLE_DATABASE, _find)
