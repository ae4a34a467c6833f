"""`ovnpay retention`: retention rules and their status."""

import json
import sys
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from shared.cli.operator.environment import open_database
from shared.operations import retention
from shared.platform.clock import SystemClock, format_rfc3339


def print_retention(*, as_json: bool) -> None:
    """Print the rules; changes nothing."""
    with open_database() as (settings, engine), engine.connect() as connection:
        statuses = retention.load_rule_statuses(connection, settings)
    if as_json:
        print(json.dumps(_document(statuses)))
        return
    now = SystemClock().now()
    table = Table(box=None, title="Kept for a limited time", title_justify="left")
    for name in ("what", "kept", "rows", "oldest", "next deletion", "deleted so far", "why"):
        table.add_column(name, justify="right" if name in ("rows", "deleted so far") else "left", overflow="fold")
    for status in statuses:
        due = status.next_at is not None and status.next_at <= now
        next_deletion = "at the next run" if due else _format_time(status.next_at)
        cells = (f"{status.rows:,}", _format_time(status.oldest), next_deletion, f"{status.forgotten:,}")
        table.add_row(status.rule.what, _format_duration(status.kept), *cells, status.rule.why)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("\nKept permanently")
    for kept in retention.KEPT_FOREVER:
        console.print(f"  {kept.what}: {kept.why}", highlight=False)


def _document(statuses: list[retention.RuleStatus]) -> dict[str, object]:
    return {
        "rules": [
            {
                "name": status.rule.name,
                "what": status.rule.what,
                "why": status.rule.why,
                "keptSeconds": int(status.kept.total_seconds()),
                "table": status.rule.table,
                "rows": status.rows,
                "oldest": status.oldest and format_rfc3339(status.oldest),
                "nextGoesAt": status.next_at and format_rfc3339(status.next_at),
                "forgotten": status.forgotten,
                "lastForgottenAt": status.forgotten_at and format_rfc3339(status.forgotten_at),
            }
            for status in statuses
        ],
        "forGood": [kept._asdict() for kept in retention.KEPT_FOREVER],
    }


def _format_time(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _format_duration(kept: timedelta) -> str:
    return f"{kept.days} days" if kept > timedelta(days=2) else f"{kept.total_seconds() / 3600:.0f} hours"
