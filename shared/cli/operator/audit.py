"""`ovnpay audit`: prints an organization's audit log."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared.cli.operator import fail_command
from shared.cli.operator.environment import open_database
from shared.identity import audit
from shared.onboarding import organizations
from shared.platform.clock import SystemClock
from shared.platform.ids import AUDIT, parse_id
from shared.platform.pagination import PageRequest

ENTRIES_PER_QUERY: Final = 1_000


def print_audit_log(organization: str, since: str | None, *, as_json: bool) -> None:
    """Print the entries since a time, or of the last 24 hours, newest first."""
    try:
        start = SystemClock().now() - timedelta(days=1) if since is None else datetime.fromisoformat(since)
    except ValueError:
        fail_command("audit", f"{since!r} is not a time; use 2026-01-31 or 2026-01-31T17:00:00Z", 2)
    start = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    with open_database() as (_, engine), engine.connect() as connection:
        organization_id = organizations.find_organization_id(connection, organization)
        if organization_id is None:
            fail_command("audit", f"there is no organization named {organization!r}")
        for entry in _iterate_entries(connection, organization_id, audit.EntryFilters(since=start)):
            print(json.dumps(entry) if as_json else format_audit_entry(entry))


def _iterate_entries(
    connection: sa.Connection, organization_id: Any, filters: audit.EntryFilters
) -> Iterator[dict[str, Any]]:
    wanted, has_more = PageRequest(ENTRIES_PER_QUERY), True
    while has_more:
        page = audit.load_entries(connection, organization_id, wanted, filters)
        entries = [audit.entry_payload(row) for row in page.rows]
        yield from entries
        has_more = page.more
        if has_more:
            wanted = PageRequest(ENTRIES_PER_QUERY, None, parse_id(AUDIT, entries[-1]["id"]))


def format_audit_entry(entry: dict[str, Any]) -> str:
    """Return an entry as one line: time, action, object, actor, address, changes."""
    actor = entry["user"] or entry["key_id"] or entry["actor_kind"]
    target = entry["object_id"] or entry["object_kind"]
    changes = " → ".join(json.dumps(state) for state in (entry["before"], entry["after"]) if state)
    return f"{entry['at']}  {entry['action']:20}  {target}  {actor}  {entry['address'] or '-'}  {changes}".rstrip()
