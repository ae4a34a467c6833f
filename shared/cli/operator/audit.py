"""The command that shows an organization's audit log."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import sqlalchemy as sa

from shared.cli.operator.database import database
from shared.identity import audit
from shared.onboarding import organizations
from shared.platform.clock import SystemClock
from shared.platform.ids import AUDIT, parse
from shared.platform.pagination import Wanted

AT_ONCE: Final = 1_000
"""Entries read at once."""


def _stop(sentence: str, code: int) -> NoReturn:
    print(f"ovnpay audit: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def show(organization: str, since: str | None, *, as_json: bool) -> None:
    """Prints the entries of an organization since a time, or of the last day, newest first."""
    try:
        start = SystemClock().now() - timedelta(days=1) if since is None else datetime.fromisoformat(since)
    except ValueError:
        _stop(f"{since!r} is no time; say 2026-01-31 or 2026-01-31T17:00:00Z", 2)
    start = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    with database() as (_, engine), engine.connect() as connection:
        organization_id = organizations.by_name(connection, organization)
        if organization_id is None:
            _stop(f"there is no organization named {organization!r}", 1)
        for entry in _entries(connection, organization_id, audit.Filters(since=start)):
            print(json.dumps(entry) if as_json else line(entry))


def _entries(connection: sa.Connection, organization_id: Any, filters: audit.Filters) -> Iterator[dict[str, Any]]:
    wanted, more = Wanted(AT_ONCE), True
    while more:
        found = audit.page(connection, organization_id, wanted, filters)
        shown = [audit.public(row) for row in found.rows]
        yield from shown
        more = found.more
        if more:
            wanted = Wanted(AT_ONCE, None, parse(AUDIT, shown[-1]["id"]))


def line(entry: dict[str, Any]) -> str:
    """An entry for people: when, what, to which object, who, from where, and what changed."""
    who = entry["user"] or entry["key_id"] or entry["actor_kind"]
    what = entry["object_id"] or entry["object_kind"]
    changes = " → ".join(json.dumps(part) for part in (entry["before"], entry["after"]) if part)
    return f"{entry['at']}  {entry['action']:20}  {what}  {who}  {entry['address'] or '-'}  {changes}".rstrip()
