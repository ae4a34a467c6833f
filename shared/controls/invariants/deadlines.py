"""Is nothing on its way for longer than it can be? A table of deadlines, each with its reason.

They are for what is lost, not for what is late: a provider that is away for hours, a weekend, a wallet that was held
break none. What waits because somebody wants it so (a batch without a time, an outgoing hold) has no deadline.
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
    """How long rows of a kind may be what they are."""

    what: str
    """As in "it is queued"."""
    lasts: timedelta
    why: str
    """Why no longer."""
    prefix: str
    table: str
    condition: str
    since: str
    """The column since when."""


_FORGOTTEN: Final = """
    reserved AND next_action_at IS NULL AND held_reason IS NULL AND NOT EXISTS (
        SELECT FROM submissions WHERE submissions.id = submission_id
               AND (submissions.next_action_at IS NOT NULL OR submissions.status = 'unresolved'))
"""


def _processing(rail: str, lasts: timedelta, why: str) -> Deadline:
    condition = f"status = 'processing' AND rail = '{rail}' AND held_reason IS NULL"
    return Deadline(f"it is processing by {rail}", lasts, why, PAYOUT, "payouts", condition, "updated_at")


DEADLINES: Final = (
    Deadline(
        "it is validated, with its money reserved",
        DAY,
        "a worker queues it within a second, the tick rings every few seconds",
        PAYOUT,
        "payouts",
        "status = 'validated' AND reserved AND held_reason IS NULL",
        "updated_at",
    ),
    Deadline(
        "it is queued",
        DAY,
        "departures wait for Paystream's hourly limit, and not longer",
        PAYOUT,
        "payouts",
        "status = 'queued' AND held_reason IS NULL",
        "updated_at",
    ),
    _processing("instant", 2 * DAY, "seconds; a lost answer is looked up a day later, when its key is forgotten"),
    _processing("same_day", 5 * DAY, "a business day, a long weekend, and an hour for a lost webhook"),
    _processing("standard", 12 * DAY, "four business days, holidays, and the questions from the fourth day on"),
    Deadline(
        "it is held",
        5 * DAY,
        "a person looks at it within a business day",
        PAYOUT,
        "payouts",
        "held_reason IS NOT NULL",
        "held_at",
    ),
    Deadline(
        "its outcome is not known",
        2 * DAY,
        "asked again for the day that its key lives, then looked up",
        SUBMISSION,
        "submissions",
        "status IN ('prepared', 'unknown') AND next_action_at IS NOT NULL",
        "created_at",
    ),
    Deadline(
        "it is on its way, and nobody will look at it",
        HOUR,
        "whatever can act by itself is due at a time",
        PAYOUT,
        "payouts",
        f"status IN ('validated', 'queued', 'processing') AND {_FORGOTTEN}",
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
        "it waits for its release past its time",
        6 * HOUR,
        "released within a second of it",
        BATCH,
        "batches",
        "status = 'queued' AND scheduled_for IS NOT NULL AND next_action_at IS NOT NULL",
        "scheduled_for",
    ),
    Deadline(
        "it has a time, and nobody looks at it",
        timedelta(0),
        "a batch that waits for its time is due then",
        BATCH,
        "batches",
        "status = 'queued' AND scheduled_for IS NOT NULL AND next_action_at IS NULL",
        "created_at",
    ),
    Deadline(
        "the webhook is not applied",
        2 * DAY,
        "applied within a second; one about nobody's payment is given up after a day",
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


def _statement(deadline: Deadline) -> sa.TextClause:
    """Finds what is past a deadline. What was held in between has had that time: it counts from the end of the hold."""
    since = deadline.since
    if deadline.table in ("payouts", "submissions", "batches"):
        since = f"greatest({since}, {unheld_since_expression(f'{deadline.table}.wallet_id', f'{deadline.table}.rail')})"
    # Ids are in the order of time, so that of many that are on their way only the old ones are looked at.
    old = "id < :made_before AND " if deadline.table == "payouts" else ""
    of_wallets = "(wallet_id IS NULL OR wallet_id = ANY(:ids))" if deadline.prefix is LOG else "wallet_id = ANY(:ids)"
    return sa.text(f"""
        SELECT wallet_id, id, since FROM {deadline.table} CROSS JOIN LATERAL (SELECT {since} AS since) AS counted
        WHERE {old}{of_wallets} AND {deadline.condition} AND since < :before ORDER BY since LIMIT {SLICE_VIOLATIONS_MAX}
    """)


_STATEMENTS: Final = tuple((deadline, _statement(deadline)) for deadline in DEADLINES)


def _breaks(connection: sa.Connection, portion: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    for deadline, statement in _STATEMENTS:
        before = portion.now - deadline.lasts
        values = {"ids": list(portion.keys), "before": before}
        if deadline.table == "payouts":
            values["made_before"] = first_id_at(before)
        for row in connection.execute(statement, values):
            yield (
                row.wallet_id,
                f"{public_id(deadline.prefix, row.id)}: {deadline.what} since {row.since:%Y-%m-%d %H:%M} UTC, at most "
                f"{_duration(deadline.lasts)} ({deadline.why})",
            )


def _duration(lasts: timedelta) -> str:
    return f"{lasts.days} days" if lasts >= 2 * DAY else f"{lasts // HOUR} hours"


INVARIANT: Final = Invariant("deadlines", "Nothing is on its way for longer than it can be", WHOLE_DATABASE, _breaks)
