"""Commands on reconciliation: compare now, list cases, close one, stop payments and let them go."""

import sys
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as midnight
from typing import Any, NoReturn

import msgspec
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from shared.cli.operator.actors import AuthenticationFailed, identify_actor
from shared.cli.operator.database import open_database
from shared.controls.reconciliation import after_restore, database_identity, runs
from shared.controls.reconciliation.provider_pages import ProviderRecordUnavailable
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


def _stop(sentence: str, code: int = 1) -> NoReturn:
    print(f"ovnpay reconcile: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def run_reconciliation(since: str | None, until: str | None, mode: str | None, *, as_json: bool) -> None:
    """Compares now; exit 1 while a case is open."""
    clock = SystemClock()
    first, last = _window(since, until, clock.now())
    with open_database() as (settings, engine):
        modes = runs.configured_modes(settings)
        if mode is not None and mode not in modes:
            _stop(f"there is no key of Paystream's for the mode {mode!r}", 2)
        paystream = PaystreamClient(settings, CallBudget(settings, engine))
        try:
            reports = _compared(settings, engine, paystream, clock, [mode] if mode else modes, (first, last))
        except ProviderRecordUnavailable as why:
            _stop(str(why), 2)
        finally:
            paystream.close()
        with engine.connect() as connection:
            found = cases.load_cases(connection, only_open=True)
    shown = [case for case in found if mode in (None, case.mode)]
    if as_json:
        print(_document(reports, shown))
    else:
        for report in reports:
            print(
                f"{report.run.mode}, {report.run.since:%Y-%m-%d %H:%M} to {report.run.until:%Y-%m-%d %H:%M} UTC: "
                f"{report.payments} payments of Paystream's, {report.opened} new cases, {report.closed} gone"
            )
        _print(shown)
    raise SystemExit(1 if shown else 0)


def _compared(
    settings: Settings,
    engine: sa.Engine,
    paystream: PaystreamClient,
    clock: Clock,
    modes: list[str],
    window: tuple[datetime, datetime],
) -> list[runs.RunReport]:
    by = runs.make_reconciler(settings, engine, paystream, clock, time.sleep)
    with engine.connect() as connection:
        stopped = is_reconcile_only(connection)
    if stopped:  # what has to be compared before payments go again, first
        wait = timedelta(seconds=settings.paystream_timeout_seconds)
        after_restore.compare_restored_database(
            by, runs.configured_modes(settings), wait=wait, lease_seconds=settings.lease_seconds
        )
    reports = []
    for mode in modes:
        with engine.begin() as connection:
            run = runs.begin_run(connection, mode, *window, RunCause.COMMAND, clock.now())
        reports.append(runs.execute_run(by, run))
    return reports


def _window(since: str | None, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    first = _day(since) if since else runs.daily_window(now.date() - timedelta(days=1), None)[0]
    last = _day(until) + timedelta(days=1) if until else now
    if first >= last:
        _stop("--since comes after --until", 2)
    return first, last


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), midnight(), UTC)
    except ValueError:
        _stop(f"{text!r} is no date like 2026-01-31", 2)


def print_cases(*, only_open: bool, as_json: bool) -> None:
    """Prints the cases."""
    with open_database() as (_, engine), engine.connect() as connection:
        found = cases.load_cases(connection, only_open=only_open)
    if as_json:
        for case in found:
            print(cases.case_json(case))
    else:
        _print(found)


def close_case_by_hand(case_id: str, reason: str, email: str | None) -> None:
    """Closes a case."""
    parsed = parse_id(CASE, case_id)
    if parsed is None or not reason.strip():
        _stop(f"{case_id!r} is no case's id" if parsed is None else "say in --reason what you have found", 2)
    with open_database() as (_, engine):
        try:
            who = identify_actor(engine, email)
            with engine.begin() as connection:
                cases.close_case(connection, parsed, who.name, reason.strip(), SystemClock().now())
        except (AuthenticationFailed, DomainError) as why:
            _stop(str(why))
    print(f"{case_id} is closed by {who.name}")


def switch_reconcile_only(to: str, reason: str, email: str | None) -> None:
    """Stops payments, or lets them go."""
    if to not in ("on", "off") or not reason.strip():
        _stop("say on or off, and in --reason why", 2)
    with open_database() as (_, engine):
        try:
            who = identify_actor(engine, email)
            change = (
                database_identity.turn_on_reconcile_only if to == "on" else database_identity.turn_off_reconcile_only
            )
            with engine.begin() as connection:
                change(connection, who.name, reason.strip(), SystemClock().now())
        except (AuthenticationFailed, DomainError) as why:
            _stop(str(why))
    print(f"reconcile-only is {to}: {'nothing is sent to Paystream' if to == 'on' else 'payments go again'}")


def _print(found: list[CaseRow]) -> None:
    """The cases as a plain table."""
    if not found:
        print("no case is open: the two records agree")
        return
    table = Table("case", "kind", "mode", "about", "ours", "theirs", "seen", "closed", box=None, pad_edge=False)
    for case in found:
        closed = f"{case.closed_by}: {case.closed_reason}" if case.closed_at else ""
        seen = f"{case.first_seen_at:%m-%d %H:%M}"
        row = (
            public_id(CASE, case.id),
            case.kind,
            case.mode,
            case.subject,
            _words(case.ours),
            _words(case.theirs),
            seen,
        )
        table.add_row(*row, closed)
    wide = None if sys.stdout.isatty() else 400  # a file's lines are for grep
    Console(width=wide, soft_wrap=False, highlight=False, markup=False).print(table)


def _words(said: dict[str, Any] | None) -> str:
    return (
        "nothing" if said is None else ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
    )


def _document(reports: list[runs.RunReport], found: list[CaseRow]) -> str:
    made = [
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
    listed_cases = [msgspec.Raw(cases.case_json(case).encode()) for case in found]
    return msgspec.json.encode({"runs": made, "openCases": listed_cases}).decode()
