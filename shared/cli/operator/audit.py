"""The command that shows an organization's audit log."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import sqlalchemy as sa

from shared.cli.operator.database import open_database
from shared.identity import audit
from shared.onboarding import organizations
from shared.platform.clock import SystemClock
from shared.platform.ids import AUDIT, parse_id
from shared.platform.pagination import PageRequest

ENTRIES_PER_QUERY: Final = 1_000
"""Entries read at once."""


def _stop(sentence: str, code: int) -> NoReturn:
    print(f"ovnpay audit: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def print_audit_log(organization: str, since: str | None, *, as_json: bool) -> None:
    """Prints the entries of an organization since a time, or of the last day, newest first."""
    try:
        start = SystemClock().now() - timedelta(days=1) if since is None else datetime.fromisoformat(since)
    except ValueError:
        _stop(f"{since!r} is no time; say 2026-01-31 or 2026-01-31T17:00:00Z", 2)
    start = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    with open_database() as (_, engine), engine.connect() as connection:
        organization_id = organizations.find_organization_id(connection, organization)
        if organization_id is None:
            _stop(f"there is no organization named {organization!r}", 1)
        for entry in _entries(connection, organization_id, audit.EntryFilters(since=start)):
            print(json.dumps(entry) if as_json else format_audit_entry(entry))


def _entries(connection: sa.Connection, organization_id: Any, filters: audit.EntryFilters) -> Iterator[dict[str, Any]]:
    wanted, more = PageRequest(ENTRIES_PER_QUERY), True
    while more:
        found = audit.load_entries(connection, organization_id, wanted, filters)
        shown = [audit.entry_payload(row) for row in found.rows]
        yield from shown
        more = found.more
        if more:
            wanted = PageRequest(ENTRIES_PER_QUERY, None, parse_id(AUDIT, shown[-1]["id"]))


def format_audit_entry(entry: dict[str, Any]) -> str:
    """An entry for people: when, what, to which object, who, from where, and what changed."""
    who = entry["user"] or entry["key_id"] or entry["actor_kind"]
    what = entry["object_id"] or entry["object_kind"]
    changes = " → ".join(json.dumps(part) for part in (entry["before"], entry["after"]) if part)
    return f"{entry['at']}  {entry['action']:20}  {what}  {who}  {entry['address'] or '-'}  {changes}".rstrip()
