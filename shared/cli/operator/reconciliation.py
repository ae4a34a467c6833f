"""`ovnpay reconcile` and `reconcile-only`."""

import sys
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from rich.console import Console
from rich.table import Table

from shared.cli.operator import fail_command
from shared.cli.operator.actors import AuthenticationFailed, identify_actor
from shared.cli.operator.environment import open_database
from shared.controls.reconciliation import after_restore, database_identity, runs
from shared.controls.reconciliation.provider_pages import ProviderRecordUnavailable
from shared.controls.reconciliation.reconcile import RunReport, execute_run
from shared.controls.reconciliation.reconciler import configured_modes, make_reconciler
from shared.holds import cases
from shared.holds.cases import CaseRow
from shared.holds.reconcile_only import is_reconcile_only
from shared.platform.clock import Clock, SystemClock
from shared.platform.errors import DomainError
from shared.platform.ids import CASE, parse_id, public_id
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.schema.controls import RunCause


def run_reconciliation(since: str | None, until: str | None, mode: str | None, *, as_json: bool) -> None:
    """Compare now; exit with 1 if a case is open."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))  # stdout has the result
    clock = SystemClock()
    window = _parse_window(since, until, clock.now())
    with open_database(connections=3) as (settings, engine):
        modes = configured_modes(settings)
        if mode is not None and mode not in modes:
            fail_command("reconcile", f"no Paystream key is set for the mode {mode!r}", 2)
        paystream = PaystreamClient(settings, CallBudget(settings, engine))
        try:
            reports = _compare(settings, engine, paystream, clock, [mode] if mode else modes, window)
        except ProviderRecordUnavailable as error:
            fail_command("reconcile", str(error), 2)
        finally:
            paystream.close()
        with engine.connect() as connection:
            open_cases = cases.load_cases(connection, only_open=True)
    selected = [case for case in open_cases if mode in (None, case.mode)]
    if as_json:
        print(_document(reports, selected))
    else:
        for report in reports:
            run = report.run
            print(
                f"{run.mode}, {run.since:%Y-%m-%d %H:%M} to {run.until:%Y-%m-%d %H:%M} UTC: "
                f"{report.payments} payments at Paystream, {report.opened} new cases, {report.closed} resolved"
            )
        _print_cases(selected)
    raise SystemExit(1 if selected else 0)


def _compare(
    settings: Settings,
    engine: sa.Engine,
    paystream: PaystreamClient,
    clock: Clock,
    modes: list[str],
    window: tuple[datetime, datetime],
) -> list[RunReport]:
    reconciler = make_reconciler(settings, engine, paystream, clock, time.sleep)
    with engine.connect() as connection:
        is_stopped = is_reconcile_only(connection)
    if is_stopped:  # a restored database must be compared as a whole before payments are allowed again
        wait = timedelta(seconds=settings.paystream_timeout_seconds)
        after_restore.compare_restored_database(
            reconciler, configured_modes(settings), wait=wait, lease_seconds=settings.lease_seconds
        )
    reports = []
    for mode in modes:
        with engine.begin() as connection:
            run = runs.begin_run(connection, mode, *window, RunCause.COMMAND, clock.now())
        reports.append(execute_run(reconciler, run))
    return reports


def _parse_window(since: str | None, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    start = _parse_day(since) if since else runs.daily_window(now.date() - timedelta(days=1), None)[0]
    end = _parse_day(until) + timedelta(days=1) if until else now
    if start >= end:
        fail_command("reconcile", "--since must not be after --until", 2)
    return start, end


def _parse_day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time_of_day(), UTC)
    except ValueError:
        fail_command("reconcile", f"{text!r} is not a date such as 2026-01-31", 2)


def print_cases(*, only_open: bool, as_json: bool) -> None:
    """Print the cases, newest first."""
    with open_database() as (_, engine), engine.connect() as connection:
        rows = cases.load_cases(connection, only_open=only_open)
    if as_json:
        for case in rows:
            print(cases.case_json(case))
    else:
        _print_cases(rows)


def close_case_by_hand(case_id: str, reason: str, email: str | None) -> None:
    """Close a case after its review."""
    parsed_id = parse_id(CASE, case_id)
    if parsed_id is None:
        fail_command("reconcile close", f"{case_id!r} is not a case id", 2)
    if not reason.strip():
        fail_command("reconcile close", "--reason must not be blank", 2)
    with open_database() as (_, engine):
        try:
            reviewer = identify_actor(engine, email)
            with engine.begin() as connection:
                cases.close_case(connection, parsed_id, reviewer.name, reason.strip(), SystemClock().now())
        except (AuthenticationFailed, DomainError) as error:
            fail_command("reconcile close", str(error))
    print(f"{case_id} is closed by {reviewer.name}")


def switch_reconcile_only(to: str, reason: str, email: str | None) -> None:
    """Stop all payments, or allow them again."""
    if to not in ("on", "off"):
        fail_command("reconcile-only", f"the argument must be on or off, not {to!r}", 2)
    if not reason.strip():
        fail_command("reconcile-only", "--reason must not be blank", 2)
    switch = database_identity.turn_on_reconcile_only if to == "on" else database_identity.turn_off_reconcile_only
    with open_database() as (_, engine):
        try:
            reviewer = identify_actor(engine, email)
            with engine.begin() as connection:
                switch(connection, reviewer.name, reason.strip(), SystemClock().now())
        except (AuthenticationFailed, DomainError) as error:
            fail_command("reconcile-only", str(error))
    print(f"reconcile-only is {to}: {'nothing is sent to Paystream' if to == 'on' else 'payments are sent again'}")


def _print_cases(rows: list[CaseRow]) -> None:
    if not rows:
        print("no cases: our record and Paystream's agree")
        return
    table = Table("case", "kind", "mode", "subject", "ours", "theirs", "seen", "closed", box=None, pad_edge=False)
    for case in rows:
        closed = f"{case.closed_by}: {case.closed_reason}" if case.closed_at else ""
        ours, theirs = _format_record(case.ours), _format_record(case.theirs)
        seen = f"{case.first_seen_at:%m-%d %H:%M}"
        table.add_row(public_id(CASE, case.id), case.kind, case.mode, case.subject, ours, theirs, seen, closed)
    width = None if sys.stdout.isatty() else 400  # a pipe gets one line for each case
    Console(width=width, soft_wrap=False, highlight=False, markup=False).print(table)


def _format_record(record: dict[str, Any] | None) -> str:
    if record is None:
        return "nothing"
    return ", ".join(f"{name} {value}" for name, value in record.items() if value is not None)


def _document(reports: list[RunReport], open_cases: list[CaseRow]) -> str:
    report_items = [
        {
            "mode": report.run.mode,
            "since": report.run.since,
            "until": report.run.until,
            "payments": report.payments,
            "differences": len(report.differences),
            "opened": report.opened,
            "closed": report.closed,
            "balanceGapCents": report.balance_gap_cents,
        }
        for report in reports
    ]
    case_items = [msgspec.Raw(cases.case_json(case).encode()) for case in open_cases]
    return msgspec.json.encode({"runs": report_items, "openCases": case_items}).decode()
