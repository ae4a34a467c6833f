"""The audit log: who did what to which object, written in the transaction of the action.

Handlers record the actions of requests; domain functions that operators or the scheduler also call record their own.
"""

import getpass
import socket
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.ids import AUDIT, ID_CLOCK_SKEW_MAX, KEY, PAYOUT, first_id_at, new_id, parse_id, public_id
from shared.platform.pagination import Page, PageRequest, select_page_ids
from shared.platform.pipelined_queries import Query, no_result, run_queries
from shared.schema.audit import MOST_FREQUENT_ACTION, Action, ActorKind

MASKED: Final = "***"
"""Replaces personal data: entries are kept forever."""

ENTRIES_COUNTED_MAX: Final = 10_000
"""A larger total is reported as this number."""

BULK_ENTRY_WINDOW: Final = timedelta(minutes=5)
"""The entry of a bulk request is written within this time of generating its payouts' ids."""


class Actor(NamedTuple):
    """Who acts, for which organization, from where."""

    kind: ActorKind
    organization_id: uuid.UUID
    wallet_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    address: str | None = None
    request_id: uuid.UUID | None = None


class Entry(NamedTuple):
    """An action to record, without personal data or secrets."""

    actor: Actor
    action: Action
    object_id: str | None
    """The public id; None for several objects."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


def operator_actor(organization_id: uuid.UUID, wallet_id: uuid.UUID | None = None) -> Actor:
    """The operator who runs the current command, as `login@host`."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container's user can be without a name
        login = "?"
    return Actor(ActorKind.OPERATOR, organization_id, wallet_id, address=f"{login}@{socket.gethostname()}")


def system_actor(organization_id: uuid.UUID, wallet_id: uuid.UUID | None) -> Actor:
    """OVN Pay itself, acting on schedule."""
    return Actor(ActorKind.SYSTEM, organization_id, wallet_id)


# Inserts entries.
_RECORD: Final = sa.text("""
    INSERT INTO audit_entries (id, organization_id, wallet_id, actor_kind, user_id, key_id, address, request_id,
                               action, object_kind, object_id, before, after, at)
    SELECT entry.*, :now FROM json_to_recordset(CAST(:entries AS json)) AS entry (
        id uuid, organization_id uuid, wallet_id uuid, kind text, user_id uuid, key_id uuid, address text,
        request_id uuid, action text, object_kind text, object_id text, before jsonb, after jsonb)
""")


class _Row(msgspec.Struct):
    id: uuid.UUID
    kind: ActorKind
    organization_id: uuid.UUID
    wallet_id: uuid.UUID | None
    user_id: uuid.UUID | None
    key_id: uuid.UUID | None
    address: str | None
    request_id: uuid.UUID | None
    action: Action
    object_kind: str
    object_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def record_entries_query(entries: Iterable[Entry], now: datetime) -> Query[None]:
    """Query that inserts the entries."""
    rows = (_Row(new_id(), *entry.actor, entry.action, entry.action.object_kind, *entry[2:]) for entry in entries)
    return Query(_RECORD, {"now": now, "entries": encode_rows(rows)}, no_result)


def record_entries(connection: sa.Connection, entries: Iterable[Entry], now: datetime) -> None:
    """Insert the entries, in the transaction of the actions."""
    listed = list(entries)
    if listed:
        run_queries(connection, record_entries_query(listed, now))


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that differ, with their old and their new values."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def mask_fields(fields: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The fields, with non-null values of these names masked."""
    return fields | {name: MASKED for name in names if fields.get(name) is not None}


class EntryFilters(NamedTuple):
    """Which entries to list; None: any."""

    action: Action | None = None
    email: str | None = None
    """Of the user who acted."""
    key_id: uuid.UUID | None = None
    object_id: str | None = None
    request_id: uuid.UUID | None = None
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""


class EntryRow(NamedTuple):
    """A stored entry."""

    id: uuid.UUID
    at: datetime
    action: str
    actor_kind: str
    user: str | None
    """The user's email."""
    key_id: uuid.UUID | None
    address: str | None
    request_id: uuid.UUID | None
    mode: str | None
    """The wallet's mode."""
    object_kind: str
    object_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


# Reads an organization's entries by id.
_LOAD_ENTRIES: Final = sa.text("""
    SELECT entry.id, at, action, actor_kind, users.email, key_id, address, request_id, wallets.mode,
           object_kind, object_id, before, after
    FROM audit_entries AS entry
    LEFT JOIN users ON users.id = user_id LEFT JOIN wallets ON wallets.id = wallet_id
    WHERE entry.organization_id = :organization_id AND entry.id = ANY(:ids) ORDER BY entry.id DESC
""")


def load_entries(
    connection: sa.Connection, organization_id: uuid.UUID, wanted: PageRequest, filters: EntryFilters | None = None
) -> Page[EntryRow]:
    """A page of the organization's log, newest first. The total is counted up to `ENTRIES_COUNTED_MAX`."""
    where, values = _entry_conditions(organization_id, filters or EntryFilters())
    ids, more = select_page_ids(connection, "audit_entries", where, values, wanted)
    rows = connection.execute(_LOAD_ENTRIES, {"organization_id": organization_id, "ids": ids})
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM (SELECT FROM audit_entries WHERE {where} LIMIT :limit) AS counted"),
        values | {"limit": ENTRIES_COUNTED_MAX},
    )
    return Page([EntryRow._make(row) for row in rows], total or 0, more)


def _entry_conditions(organization_id: uuid.UUID, filters: EntryFilters) -> tuple[str, dict[str, Any]]:
    parts, values = ["organization_id = :organization_id"], dict[str, Any](organization_id=organization_id)
    if filters.action is not None:
        parts.append("action = :action")
        values["action"] = filters.action.value
        if filters.action != MOST_FREQUENT_ACTION:
            parts.append(f"action <> '{MOST_FREQUENT_ACTION.value}'")  # lets the planner use the partial index
    if filters.email is not None:
        user_id = "SELECT users.id FROM users WHERE email = :email AND users.organization_id = :organization_id"
        parts.append(f"user_id = ({user_id})")
        values["email"] = filters.email.lower()
    if filters.key_id is not None:
        parts.append("key_id = :key_id")
        values["key_id"] = filters.key_id
    if filters.object_id is not None:
        condition, parameters = _about_object(filters.object_id)
        parts.append(condition)
        values |= parameters
    if filters.request_id is not None:
        parts.append("request_id = :request_id")
        values["request_id"] = filters.request_id
    if filters.since is not None:
        parts.append("at >= :since AND id >= :since_id")
        values |= {"since": filters.since, "since_id": first_id_at(filters.since, -ID_CLOCK_SKEW_MAX)}
    if filters.until is not None:
        parts.append("at < :until AND id < :until_id")
        values |= {"until": filters.until, "until_id": first_id_at(filters.until, ID_CLOCK_SKEW_MAX)}
    return " AND ".join(parts), values


def _about_object(object_id: str) -> tuple[str, dict[str, Any]]:
    payout_id = parse_id(PAYOUT, object_id)
    if payout_id is None:
        return "object_id = :object_id", {"object_id": object_id}
    # An entry about several payouts was written soon after their ids were generated: searching only that time takes no
    # index with a row per payout.
    several = "object_id IS NULL AND id > :made AND id < :made_before AND jsonb_exists(after -> 'ids', :object_id)"
    made_before = uuid.UUID(int=min(payout_id.int + (_milliseconds(BULK_ENTRY_WINDOW) << 80), 2**128 - 1))
    values = {"object_id": object_id, "made": payout_id, "made_before": made_before}
    return f"(object_id = :object_id OR {several})", values


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def entry_payload(row: EntryRow) -> dict[str, Any]:
    """The entry as the API shows it."""
    return {
        "id": public_id(AUDIT, row.id),
        "at": format_rfc3339(row.at),
        "action": row.action,
        "actor_kind": row.actor_kind,
        "user": row.user,
        "key_id": row.key_id and public_id(KEY, row.key_id),
        "address": row.address,
        "request_id": row.request_id and str(row.request_id),
        "mode": row.mode,
        "object_kind": row.object_kind,
        "object_id": row.object_id,
        "before": row.before,
        "after": row.after,
    }
