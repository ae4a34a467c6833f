"""Execute a run: compare payments, then the balance, and record cases."""

import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from shared.controls.reconciliation import compare, provider_pages, runs
from shared.controls.reconciliation.balance import compare_balance
from shared.controls.reconciliation.provider_payments import ProviderPayment
from shared.controls.reconciliation.reconciler import Reconciler
from shared.controls.reconciliation.runs import StartedRun
from shared.holds import cases
from shared.holds.cases import Difference

logger = structlog.get_logger(__name__)


class RunReport(NamedTuple):
    run: StartedRun
    payments: int
    differences: list[Difference]
    opened: int
    closed: int
    """Numbers of cases."""
    balance_gap_cents: int | None


OnPage = Callable[[Sequence[ProviderPayment]], None]


def execute_run(reconciler: Reconciler, run: StartedRun, on_page: OnPage = lambda page: None) -> RunReport:
    """Compare each page in its own transaction; `on_page` receives each page.

    Raises:
        ProviderRecordUnavailable: the run fails, and no case is closed.
    """
    try:
        report = _execute_run(reconciler, run, on_page)
    except BaseException as error:
        with reconciler.engine.begin() as connection:
            runs.fail_run(connection, run, reconciler.clock.now(), str(error) or type(error).__name__)
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


def _execute_run(reconciler: Reconciler, run: StartedRun, on_page: OnPage) -> RunReport:
    differences: list[Difference] = []
    seen: set[uuid.UUID] = set()
    payments = opened = 0
    since, until = run.since - provider_pages.CLOCK_MARGIN, run.until + provider_pages.CLOCK_MARGIN
    for page in provider_pages.load_payment_pages(reconciler.paystream, run.mode, since, until, reconciler.wait):
        now = reconciler.clock.now()
        on_page(page)
        with reconciler.engine.begin() as connection:
            compared = compare.compare_payments(connection, run.mode, page, now, reconciler.grace_periods)
            opened += cases.record_differences(connection, run.mode, compared.differences, now)
            runs.record_heartbeat(connection, run, now)
        payments += len(page)
        differences += compared.differences
        seen |= compared.seen
    missing = _find_missing_at_provider(reconciler, run, seen)
    balance = compare_balance(reconciler, run)
    now = reconciler.clock.now()
    with reconciler.engine.begin() as connection:
        found = [*missing, *compare.find_unresolved_payouts(connection, run.mode), *balance.differences]
        opened += cases.record_differences(connection, run.mode, found, now)
        differences += found
        closed = cases.close_resolved_cases(connection, run.mode, run.since, run.until, run.started_at, now)
        runs.complete_run(
            connection,
            run,
            now,
            payments=payments,
            differences=len(differences),
            balance_gap_cents=balance.gap_cents,
        )
    return RunReport(run, payments, differences, opened, closed, balance.gap_cents)


def _find_missing_at_provider(reconciler: Reconciler, run: StartedRun, seen: set[uuid.UUID]) -> list[Difference]:
    """Look up each accepted payout that is on no page; its payment may be older than the window."""
    with reconciler.engine.begin() as connection:
        until = min(run.until, reconciler.clock.now())
        unseen = compare.find_unseen_payouts(connection, run.mode, run.since, until, seen)
    found = []
    for ours, about_at in unseen:
        payment = ours.payment_id and provider_pages.load_provider_payment(
            reconciler.paystream, run.mode, ours.payment_id, reconciler.wait
        )
        if not payment:
            found.append(compare.missing_at_provider(ours, about_at))
            continue
        now = reconciler.clock.now()
        with reconciler.engine.begin() as connection:
            compared = compare.compare_payments(connection, run.mode, [payment], now, reconciler.grace_periods)
        found += compared.differences
    return found
