"""`ovnpay retention`: what is kept how long, how much there is of it, and when the next of it goes."""

import json
import sys
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from shared.cli.operator.database import open_database
from shared.operations import retention
from shared.platform.clock import SystemClock, format_rfc3339


def print_retention(*, as_json: bool) -> None:
    """Prints it; changes nothing."""
    with open_database() as (settings, engine), engine.connect() as connection:
        standings = retention.load_rule_statuses(connection, settings)
    if as_json:
        print(json.dumps(_document(standings)))
        return
    now = SystemClock().now()
    table = Table(box=None, title="Kept for a while", title_justify="left")
    for name in ("what", "kept", "rows", "oldest", "next goes", "gone so far", "why"):
        table.add_column(name, justify="right" if name in ("rows", "gone so far") else "left", overflow="fold")
    for one in standings:
        next_goes = "-" if one.next_at is None else "at the next run" if one.next_at <= now else _moment(one.next_at)
        cells = (_length(one.kept), f"{one.rows:,}", _moment(one.oldest), next_goes, f"{one.forgotten:,}")
        table.add_row(one.rule.what, *cells, one.rule.why)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("\nKept for good")
    for good in retention.KEPT_FOREVER:
        console.print(f"  {good.what}: {good.why}", highlight=False)


def _document(standings: list[retention.RuleStatus]) -> dict[str, object]:
    return {
        "rules": [
            {
                "name": one.rule.name,
                "what": one.rule.what,
                "why": one.rule.why,
                "keptSeconds": int(one.kept.total_seconds()),
                "table": one.rule.table,
                "rows": one.rows,
                "oldest": one.oldest and format_rfc3339(one.oldest),
                "nextGoesAt": one.next_at and format_rfc3339(one.next_at),
                "forgotten": one.forgotten,
                "lastForgottenAt": one.forgotten_at and format_rfc3339(one.forgotten_at),
            }
            for one in standings
        ],
        "forGood": [one._asdict() for one in retention.KEPT_FOREVER],
    }


def _moment(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _length(kept: timedelta) -> str:
    return f"{kept.days} days" if kept > timedelta(days=2) else f"{kept.total_seconds() / 3600:.0f} hours"
