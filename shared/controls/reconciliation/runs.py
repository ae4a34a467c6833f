"""Rows of `reconciliation_runs`: at most one daily run per mode and day succeeds."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.ids import new_id
from shared.schema.controls import RunCause

SETTLING_DAYS: Final = 5
"""Days that the daily window includes before its day: until a standard payment has settled, weekends included."""
CATCH_UP_DAYS_MAX: Final = 60
DAILY_RUN_DELAY: Final = timedelta(hours=1)
"""How long after midnight UTC the run of the day before may begin."""
STALE_AFTER: Final = timedelta(minutes=90)
"""A run without a heartbeat for so long has died: the provider never makes it wait longer than that."""
RETRY_DAILY_AFTER: Final = timedelta(minutes=10)
"""How long after a failed daily run the next is tried."""


class StartedRun(NamedTuple):
    id: uuid.UUID
    mode: str
    since: datetime
    until: datetime
    cause: RunCause
    started_at: datetime


def daily_window(day: date, last_done: date | None) -> tuple[datetime, datetime]:
    """Return a daily run's window: its day, missed days, and days that may still settle."""
    first = min(day, last_done + timedelta(days=1)) if last_done else day
    first = max(first, day - timedelta(days=CATCH_UP_DAYS_MAX)) - timedelta(days=SETTLING_DAYS)
    return datetime.combine(first, time(), UTC), datetime.combine(day + timedelta(days=1), time(), UTC)


def begin_run(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, cause: RunCause, now: datetime
) -> StartedRun:
    """Begin a run that needs no claim."""
    run = StartedRun(new_id(), mode, since, until, cause, now)
    _insert_run(connection, run, None)
    return run


# Which daily runs there were, and whether there is anything to compare. No locks.
_DAILY_STATE: Final = sa.text("""
    SELECT max(day) FILTER (WHERE status = 'done') AS done,
           coalesce(bool_or(status = 'failed' AND day = :day AND ended_at > :retry_after), false) AS just_failed,
           EXISTS (SELECT FROM wallets WHERE mode = :mode AND created_at < :end) AS has_wallets
    FROM reconciliation_runs WHERE mode = :mode AND day IS NOT NULL
""")


def claim_daily_run(connection: sa.Connection, mode: str, now: datetime) -> StartedRun | None:
    """Begin yesterday's run; None if another process has it, it is done, or there is nothing to compare.

    Fails runs whose process died first, and retries a failed one after `RETRY_DAILY_AFTER`.
    """
    day = (now - DAILY_RUN_DELAY).date() - timedelta(days=1)
    fail_stale_runs(connection, now)
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    state = connection.execute(
        _DAILY_STATE, {"mode": mode, "day": day, "retry_after": now - RETRY_DAILY_AFTER, "end": end}
    ).one()
    if state.just_failed or not state.has_wallets or (state.done is not None and state.done >= day):
        return None
    run = StartedRun(new_id(), mode, *daily_window(day, state.done), RunCause.DAILY, now)
    return run if _insert_run(connection, run, day) else None


# The unique index on mode and day makes one process the owner of a daily run.
_INSERT_RUN: Final = sa.text("""
    INSERT INTO reconciliation_runs (id, mode, cause, day, since, until, status, started_at, heard_at)
    VALUES (:id, :mode, :cause, :day, :since, :until, 'running', :started_at, :started_at)
    ON CONFLICT (mode, day) WHERE day IS NOT NULL AND status <> 'failed' DO NOTHING
""")


def _insert_run(connection: sa.Connection, run: StartedRun, day: date | None) -> bool:
    values = {**run._asdict(), "cause": run.cause.value, "day": day}
    return connection.execute(_INSERT_RUN, values).rowcount > 0


def fail_stale_runs(connection: sa.Connection, now: datetime) -> None:
    connection.execute(
        sa.text("""
            UPDATE reconciliation_runs SET status = 'failed', error = 'its process died', ended_at = :now
            WHERE status = 'running' AND heard_at < :stale
        """),
        {"now": now, "stale": now - STALE_AFTER},
    )


def record_heartbeat(connection: sa.Connection, run: StartedRun, now: datetime) -> None:
    connection.execute(
        sa.text("UPDATE reconciliation_runs SET heard_at = :now WHERE id = :id"), {"now": now, "id": run.id}
    )


# Ends a run, unless it was failed as stale. Locks its row.
_END_RUN: Final = sa.text("""
    UPDATE reconciliation_runs SET status = :status, payments = :payments, differences = :differences,
        balance_gap_cents = :balance_gap_cents, error = :error, ended_at = :now, heard_at = :now
    WHERE id = :id AND status = 'running'
""")


def complete_run(
    connection: sa.Connection,
    run: StartedRun,
    now: datetime,
    *,
    payments: int,
    differences: int,
    balance_gap_cents: int | None,
) -> None:
    values = {"payments": payments, "differences": differences, "balance_gap_cents": balance_gap_cents}
    connection.execute(_END_RUN, {"id": run.id, "status": "done", "now": now, "error": None, **values})


def fail_run(connection: sa.Connection, run: StartedRun, now: datetime, error: str) -> None:
    values = {"payments": 0, "differences": 0, "balance_gap_cents": None}
    connection.execute(_END_RUN, {"id": run.id, "status": "failed", "now": now, "error": error, **values})


def last_completed_at(connection: sa.Connection) -> dict[str, datetime]:
    """Return when the last successful run ended, by mode."""
    rows = connection.execute(
        sa.text("SELECT mode, max(ended_at) AS at FROM reconciliation_runs WHERE status = 'done' GROUP BY mode")
    )
    return {row.mode: row.at for row in rows}
