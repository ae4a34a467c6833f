"""Runs: one comparison over a window, from the first page to the closing of cases; and the daily one, made once."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared.controls.reconciliation import compare, provider_pages
from shared.controls.reconciliation.compare import GracePeriods
from shared.controls.reconciliation.provider_pages import WaitFunction
from shared.controls.reconciliation.provider_payments import ProviderPayment
from shared.holds import cases
from shared.holds.cases import Difference
from shared.platform.clock import Clock
from shared.platform.ids import new_id
from shared.platform.settings import Settings
from shared.provider.client import PaystreamClient
from shared.schema.controls import CaseKind, RunCause
from shared.schema.organizations import Mode

logger = structlog.get_logger(__name__)

SETTLING_DAYS: Final = 5
"""How far the daily window reaches back beyond its day: until a standard payment has settled, weekends included."""
CATCH_UP_DAYS_MAX: Final = 60
DAILY_RUN_DELAY: Final = timedelta(hours=1)
STALE_AFTER: Final = timedelta(minutes=90)
"""A run that was not heard of for so long is dead: longer than the provider lets us wait for room."""
RETRY_DAILY_AFTER: Final = timedelta(minutes=10)
"""How long after a failed daily run the next is tried."""


class ReconciliationRun(NamedTuple):
    """A run that was begun, and that is ours."""

    id: uuid.UUID
    mode: str
    since: datetime
    until: datetime
    cause: RunCause
    started_at: datetime


class RunReport(NamedTuple):
    """What came of it."""

    run: ReconciliationRun
    payments: int
    differences: list[Difference]
    opened: int
    closed: int
    balance_gap_cents: int | None


class Reconciler(NamedTuple):
    """What a run needs."""

    engine: sa.Engine
    paystream: PaystreamClient
    clock: Clock
    graces: GracePeriods
    pause: WaitFunction
    """Waits for room among the provider's calls; may raise to give up."""


def make_reconciler(
    settings: Settings, engine: sa.Engine, paystream: PaystreamClient, clock: Clock, pause: WaitFunction
) -> Reconciler:
    """What a run needs, by the installation's settings."""
    return Reconciler(engine, paystream, clock, compare.grace_periods(settings), pause)


def configured_modes(settings: Settings) -> list[str]:
    """The modes in which we can ask the provider: those whose key is set."""
    keys = {Mode.SANDBOX.value: settings.paystream_test_key, Mode.PRODUCTION.value: settings.paystream_live_key}
    return [mode for mode, key in keys.items() if key]


def daily_window(day: date, last_done: date | None) -> tuple[datetime, datetime]:
    """The daily window: the day, those before it that were missed, and the days before that which may still settle."""
    first = min(day, last_done + timedelta(days=1)) if last_done else day
    first = max(first, day - timedelta(days=CATCH_UP_DAYS_MAX)) - timedelta(days=SETTLING_DAYS)
    return datetime.combine(first, time(), UTC), datetime.combine(day + timedelta(days=1), time(), UTC)


def begin_run(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, cause: RunCause, now: datetime
) -> ReconciliationRun:
    """Begins a run that nobody else has to know of."""
    made = _insert(connection, mode, since, until, cause, None, now)
    assert made is not None
    return made


def claim_daily_run(connection: sa.Connection, mode: str, now: datetime) -> ReconciliationRun | None:
    """Begins yesterday's run, unless somebody else has, or there is nothing to compare; None: not ours. A run that
    died is given up here, and one that failed is tried again after a while.
    """
    day = (now - DAILY_RUN_DELAY).date() - timedelta(days=1)
    fail_stale_runs(connection, now)
    state = connection.execute(
        sa.text("""
            SELECT max(day) FILTER (WHERE status = 'done') AS done,
                   coalesce(bool_or(status = 'failed' AND day = :day AND ended_at > :again), false) AS just_failed,
                   EXISTS (SELECT FROM wallets WHERE mode = :mode AND created_at < :end) AS anything
            FROM reconciliation_runs WHERE mode = :mode AND day IS NOT NULL
        """),
        {
            "mode": mode,
            "day": day,
            "again": now - RETRY_DAILY_AFTER,
            "end": datetime.combine(day + timedelta(days=1), time(), UTC),
        },
    ).one()
    if state.just_failed or not state.anything or (state.done is not None and state.done >= day):
        return None
    since, until = daily_window(day, state.done)
    return _insert(connection, mode, since, until, RunCause.DAILY, day, now)


def last_completed_at(connection: sa.Connection) -> dict[str, datetime]:
    """When the last run ended well, by mode."""
    rows = connection.execute(
        sa.text("SELECT mode, max(ended_at) AS at FROM reconciliation_runs WHERE status = 'done' GROUP BY mode")
    )
    return {row.mode: row.at for row in rows}


def fail_stale_runs(connection: sa.Connection, now: datetime) -> None:
    """Fails the runs whose process has died."""
    connection.execute(
        sa.text("""
            UPDATE reconciliation_runs SET status = 'failed', error = 'not heard of any more', ended_at = :now
            WHERE status = 'running' AND heard_at < :silent
        """),
        {"now": now, "silent": now - STALE_AFTER},
    )


def _insert(
    connection: sa.Connection,
    mode: str,
    since: datetime,
    until: datetime,
    cause: RunCause,
    day: date | None,
    now: datetime,
) -> ReconciliationRun | None:
    run = ReconciliationRun(new_id(), mode, since, until, cause, now)
    done = connection.execute(
        sa.text("""
            INSERT INTO reconciliation_runs (id, mode, cause, day, since, until, status, started_at, heard_at)
            VALUES (:id, :mode, :cause, :day, :since, :until, 'running', :now, :now)
            ON CONFLICT (mode, day) WHERE day IS NOT NULL AND status <> 'failed' DO NOTHING
        """),
        {**run._asdict(), "cause": cause.value, "day": day, "now": now},
    )
    return run if done.rowcount else None


OnPage = Callable[[Sequence[ProviderPayment]], None]


def execute_run(by: Reconciler, run: ReconciliationRun, look: OnPage = lambda page: None) -> RunReport:
    """Makes the comparison. Each page is read with no transaction open, and compared in one of its own; `look` is shown
    each as well.

    Raises:
        NotTold: the provider did not tell all of its record; the run is marked as failed, and no case is closed.

    """
    try:
        report = _carried_out(by, run, look)
    except BaseException as error:
        with by.engine.begin() as connection:
            _end(connection, run, "failed", by.clock.now(), error=str(error) or type(error).__name__)
        raise
    logger.info(
        "reconciliation.done",
        mode=run.mode,
        cause=run.cause.value,
        payments=report.payments,
        differences=len(report.differences),
        opened=report.opened,
        closed=report.closed,
    )
    return report


def _carried_out(by: Reconciler, run: ReconciliationRun, look: OnPage) -> RunReport:
    differences: list[Difference] = []
    seen: set[uuid.UUID] = set()
    payments = opened = 0
    reading = provider_pages.load_payment_pages(
        by.paystream,
        run.mode,
        run.since - provider_pages.CLOCK_MARGIN,
        run.until + provider_pages.CLOCK_MARGIN,
        by.pause,
    )
    for page in reading:
        now = by.clock.now()
        look(page)
        with by.engine.begin() as connection:
            compared = compare.compare_payments(connection, run.mode, page, now, by.graces)
            opened += cases.record_differences(connection, run.mode, compared.differences, now)
            connection.execute(
                sa.text("UPDATE reconciliation_runs SET heard_at = :now WHERE id = :id"), {"now": now, "id": run.id}
            )
        payments += len(page)
        differences += compared.differences
        seen |= compared.seen
    gone = _missing_there(by, run, seen)
    gap_cents, unlike = _balance(by, run)
    now = by.clock.now()
    with by.engine.begin() as connection:
        found = [*gone, *compare.find_unresolved_payouts(connection, run.mode), *unlike]
        opened += cases.record_differences(connection, run.mode, found, now)
        differences += found
        closed = cases.close_resolved_cases(connection, run.mode, run.since, run.until, run.started_at, now)
        _end(connection, run, "done", now, payments=payments, differences=len(differences), gap_cents=gap_cents)
    return RunReport(run, payments, differences, opened, closed, gap_cents)


def _missing_there(by: Reconciler, run: ReconciliationRun, seen: set[uuid.UUID]) -> list[Difference]:
    """What we say was paid and no page has shown: asked about one by one, for it may have been made before the
    window.
    """
    with by.engine.begin() as connection:
        waiting = compare.find_unseen_payouts(connection, run.mode, run.since, min(run.until, by.clock.now()), seen)
    found = []
    for ours, about_at in waiting:
        payment = ours.payment_id and provider_pages.load_provider_payment(
            by.paystream, run.mode, ours.payment_id, by.pause
        )
        if not payment:
            found.append(compare.missing_at_provider(ours, about_at))
            continue
        with by.engine.begin() as connection:
            found += compare.compare_payments(connection, run.mode, [payment], by.clock.now(), by.graces).differences
    return found


def _balance(by: Reconciler, run: ReconciliationRun) -> tuple[int | None, list[Difference]]:
    """The provider's balance less what it should be by our ledger, where nothing is under way; it has to stay what it
    was. None, and no difference, where something is; and after a restore, when the ledger is known to be old.
    """
    if run.cause is RunCause.RESTORE:
        with by.engine.connect() as connection:
            return None, _open_balance_case(connection, run.mode)
    with by.engine.connect() as connection:
        before = _our_balance(connection, run.mode)
    theirs_cents = provider_pages.load_provider_balance_cents(by.paystream, run.mode, by.pause)
    with by.engine.connect() as connection:
        if before is None or before != _our_balance(connection, run.mode):
            return None, _open_balance_case(connection, run.mode)
        gap_cents = theirs_cents - before
        usual_cents = _usual_gap(connection, run.mode)
    if usual_cents is None or usual_cents == gap_cents:
        return gap_cents, []
    ours, theirs = {"balance": before + usual_cents}, {"balance": theirs_cents, "gap": gap_cents}
    return gap_cents, [Difference(CaseKind.BALANCE, run.mode, by.clock.now(), ours, theirs)]


def _our_balance(connection: sa.Connection, mode: str) -> int | None:
    """What the provider should hold of our wallets' money, but for a part that never changes; None: money is on its
    way. Fees stay there, and play money never was.
    """
    row = connection.execute(
        sa.text("""
            SELECT coalesce((SELECT sum(balance_cents) FROM accounts JOIN wallets ON wallets.id = wallet_id
                             WHERE mode = :mode AND kind IN ('external', 'pending_funding')), 0)
                   + coalesce((SELECT sum(amount_cents) FROM topups JOIN wallets ON wallets.id = wallet_id
                               WHERE mode = :mode AND method = 'sandbox_grant'), 0) AS away_cents,
                   EXISTS (SELECT FROM wallets CROSS JOIN LATERAL (
                               SELECT FROM payouts
                               WHERE payouts.wallet_id = wallets.id AND status = 'processing' LIMIT 1
                           ) AS sent WHERE mode = :mode)
                   OR EXISTS (SELECT FROM topups JOIN wallets ON wallets.id = wallet_id
                              WHERE mode = :mode AND status = 'pending') AS moving
        """),
        {"mode": mode},
    ).one()
    return None if row.moving else -int(row.away_cents)


def _usual_gap(connection: sa.Connection, mode: str) -> int | None:
    """The gap that a person has accepted last, else the first one that was seen."""
    found = connection.scalar(
        sa.text("""
            SELECT coalesce(
                (SELECT CAST(theirs ->> 'gap' AS bigint) FROM reconciliation_cases
                 WHERE kind = 'balance' AND mode = :mode AND closed_by <> 'system' ORDER BY closed_at DESC LIMIT 1),
                (SELECT balance_gap_cents FROM reconciliation_runs
                 WHERE mode = :mode AND balance_gap_cents IS NOT NULL ORDER BY id LIMIT 1))
        """),
        {"mode": mode},
    )
    return None if found is None else int(found)


def _open_balance_case(connection: sa.Connection, mode: str) -> list[Difference]:
    """The open case, which stays open while nothing can be said."""
    return [
        Difference(CaseKind.BALANCE, mode, row.about_at, row.ours, row.theirs)
        for row in connection.execute(
            sa.text("""
                SELECT about_at, ours, theirs FROM reconciliation_cases
                WHERE kind = 'balance' AND mode = :mode AND closed_at IS NULL
            """),
            {"mode": mode},
        )
    ]


def _end(
    connection: sa.Connection,
    run: ReconciliationRun,
    status: str,
    now: datetime,
    *,
    payments: int = 0,
    differences: int = 0,
    gap_cents: int | None = None,
    error: str | None = None,
) -> None:
    connection.execute(
        sa.text("""
            UPDATE reconciliation_runs SET status = :status, payments = :payments, differences = :differences,
                balance_gap_cents = :gap, error = :error, ended_at = :now, heard_at = :now
            WHERE id = :id AND status = 'running'
        """),
        {
            "id": run.id,
            "status": status,
            "now": now,
            "payments": payments,
            "differences": differences,
            "gap": gap_cents,
            "error": error,
        },
    )
