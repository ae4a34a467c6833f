"""Retention: how long data is kept, why, and how the scheduler deletes the rest.

A rule is applied slice by slice, by one scheduler at a time. Records of money and the audit log are kept forever.
"""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.events import deliveries
from shared.identity import sessions
from shared.platform import idempotency
from shared.platform.ids import first_id_at
from shared.platform.masking import MASK
from shared.platform.settings import Settings

ROWS_COUNTED_MAX: Final = 10_000


class SliceResult(NamedTuple):
    forgotten: int
    past: uuid.UUID | None
    """Cursor, for rules that go through a table by id."""
    more: bool
    """Whether more may be due now."""


class RetentionRule(NamedTuple):
    """Data that is deleted or masked after a time."""

    name: str
    what: str
    why: str
    kept: Callable[[Settings], timedelta]
    table: str
    oldest: str
    """Query for the time of the oldest row that is still kept; `:past` is the cursor."""
    apply: Callable[[sa.Connection, datetime, timedelta, uuid.UUID | None, int], SliceResult]
    """Takes the time, the retention, the cursor and the number of rows to read."""


class KeptForever(NamedTuple):
    """Data that is never deleted."""

    what: str
    why: str


def _days(name: str) -> Callable[[Settings], timedelta]:
    return lambda settings: timedelta(days=getattr(settings, name))


def _deletion_result(done: int, limit: int) -> SliceResult:
    return SliceResult(done, None, done >= limit)


def _change_slice(
    connection: sa.Connection, table: str, change: str, past: uuid.UUID | None, before: datetime, limit: int
) -> SliceResult:
    """Read the next slice of a table by id, that is by time, and change some of its rows."""
    row = connection.execute(
        sa.text(f"""
            WITH passed AS (
                SELECT id FROM {table} WHERE id > :past AND id < :before ORDER BY id LIMIT :limit
            ), changed AS (
                UPDATE {table} AS old {change} AND old.id = passed.id RETURNING 1
            )
            SELECT (SELECT count(*) FROM changed), (SELECT count(*) FROM passed),
                   (SELECT id FROM passed ORDER BY id DESC LIMIT 1)
        """),
        {"past": past or uuid.UUID(int=0), "before": first_id_at(before), "limit": limit},
    ).one()
    return SliceResult(int(row[0]), row[2] or past, int(row[1]) >= limit)


_EMPTY_BODIES: Final = "SET body = '' FROM passed WHERE status IN ('applied', 'ignored') AND next_action_at IS NULL"

_MASKED: Final = f'{{"name": "{MASK}", "email": "{MASK}", "phone": "{MASK}", "bankAccountLast4": "{MASK}"}}'
_MASK_DRIVERS: Final = f"SET data = data || '{_MASKED}' FROM passed WHERE type = 'driver.verified'"
"""The only change that the trigger allows; see `shared/schema/migrations/versions/0011_retention.py`."""

RETENTION_RULES: Final = (
    RetentionRule(
        "idempotency_keys",
        "idempotency keys, with their stored responses",
        "API promise: a key can be used again after 48 hours",
        lambda settings: idempotency.KEY_LIFETIME,
        "idempotency_keys",
        "SELECT expires_at - interval '48 hours' FROM idempotency_keys ORDER BY expires_at LIMIT 1",
        lambda connection, now, kept, past, limit: _deletion_result(
            idempotency.delete_expired_keys(connection, now, limit=limit), limit
        ),
    ),
    RetentionRule(
        "sessions",
        "sessions, after they ended",
        "to answer who was signed in recently (OVNPAY_KEEP_SESSIONS_DAYS)",
        _days("keep_sessions_days"),
        "sessions",
        "SELECT min(expires_at) FROM sessions",
        lambda connection, now, kept, past, limit: _deletion_result(
            sessions.delete_expired_sessions(connection, now - kept, limit=limit), limit
        ),
    ),
    RetentionRule(
        "webhook_deliveries",
        "attempts to deliver events to customers' webhooks",
        "API promise: events can be redelivered for 30 days",
        lambda settings: deliveries.DELIVERY_RETENTION,
        "webhook_deliveries",
        """
        SELECT min(created_at) FROM customer_events WHERE id IN (
            SELECT (SELECT event_id FROM webhook_deliveries WHERE endpoint_id = webhook_endpoints.id
                    ORDER BY event_id LIMIT 1) FROM webhook_endpoints)
        """,
        lambda connection, now, kept, past, limit: _deletion_result(
            deliveries.delete_old_deliveries(connection, now, limit=limit), limit
        ),
    ),
    RetentionRule(
        "personal_data_in_events",
        "drivers' names, addresses and account digits in verification events: masked",
        "the event can no longer be redelivered; the driver record has them (OVNPAY_KEEP_PERSONAL_DATA_DAYS)",
        _days("keep_personal_data_days"),
        "customer_events",
        "SELECT created_at FROM customer_events WHERE id > :past ORDER BY id LIMIT 1",
        lambda connection, now, kept, past, limit: _change_slice(
            connection, "customer_events", _MASK_DRIVERS, past, now - kept, limit
        ),
    ),
    RetentionRule(
        "provider_webhook_bodies",
        "raw bodies of Paystream's webhooks that were applied or ignored: emptied",
        "disputes with a bank may take a year; parsed fields and hash stay (OVNPAY_KEEP_BODIES_DAYS)",
        _days("keep_bodies_days"),
        "provider_events",
        "SELECT received_at FROM provider_events WHERE id > :past ORDER BY id LIMIT 1",
        lambda connection, now, kept, past, limit: _change_slice(
            connection, "provider_events", _EMPTY_BODIES, past, now - kept, limit
        ),
    ),
)

KEPT_FOREVER: Final = (
    KeptForever("payouts, batches, top-ups, and each of their steps", "the record that every check starts from"),
    KeptForever("transfers and accounts", "the ledger is never edited"),
    KeptForever("submissions, and Paystream's responses", "which payment was requested under which key"),
    KeptForever("webhooks of Paystream that matched nothing", "a person may still have to explain them"),
    KeptForever("customer events", "the feed can be read from its beginning"),
    KeptForever("the audit log", "who did what; it contains no personal data"),
    KeptForever("reconciliation runs and cases, holds, resolutions", "why money was stopped or released"),
    KeptForever("drivers", "until their carrier deletes them"),
)


# Makes this transaction the only one that applies the rule, until it ends.
_TRY_LOCK: Final = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")

# Adds to the rule's progress; locks its row.
_RECORD_PROGRESS: Final = sa.text("""
    INSERT INTO retention_marks AS mark (name, past, forgotten, forgotten_at)
    VALUES (:name, :past, :forgotten, CASE WHEN :forgotten > 0 THEN CAST(:now AS timestamptz) END)
    ON CONFLICT (name) DO UPDATE SET past = excluded.past, forgotten = mark.forgotten + excluded.forgotten,
        forgotten_at = coalesce(excluded.forgotten_at, mark.forgotten_at)
""")


def apply_retention_rule(
    connection: sa.Connection, rule: RetentionRule, settings: Settings, now: datetime, *, limit: int
) -> SliceResult:
    """Apply a rule to at most `limit` rows, or to none if another scheduler has its advisory lock."""
    if not connection.scalar(_TRY_LOCK, {"name": f"retention {rule.name}"}):
        return SliceResult(0, None, False)
    past = connection.scalar(sa.text("SELECT past FROM retention_marks WHERE name = :name"), {"name": rule.name})
    done = rule.apply(connection, now, rule.kept(settings), past, limit)
    if done.forgotten or done.past != past:
        connection.execute(
            _RECORD_PROGRESS, {"name": rule.name, "past": done.past, "forgotten": done.forgotten, "now": now}
        )
    return done


class RuleStatus(NamedTuple):
    """How far a rule has been applied."""

    rule: RetentionRule
    kept: timedelta
    rows: int
    """In its table: counted up to `ROWS_COUNTED_MAX`, then the planner's estimate."""
    oldest: datetime | None
    """Time of the oldest row still kept."""
    forgotten: int
    forgotten_at: datetime | None

    @property
    def next_at(self) -> datetime | None:
        return None if self.oldest is None else self.oldest + self.kept


def load_rule_statuses(connection: sa.Connection, settings: Settings) -> list[RuleStatus]:
    marks = {row.name: row for row in connection.execute(sa.text("SELECT * FROM retention_marks"))}
    found = []
    for rule in RETENTION_RULES:
        mark = marks.get(rule.name)
        past = (mark.past if mark is not None else None) or uuid.UUID(int=0)
        statement = sa.text(rule.oldest)
        oldest = connection.scalar(statement, {"past": past} if ":past" in rule.oldest else {})
        counted = connection.scalar(
            sa.text(f"SELECT count(*) FROM (SELECT FROM {rule.table} LIMIT :most) AS found"), {"most": ROWS_COUNTED_MAX}
        )
        if counted == ROWS_COUNTED_MAX:
            estimate = sa.text(
                "SELECT greatest(reltuples, :most)::bigint FROM pg_class WHERE oid = to_regclass(:table)"
            )
            counted = connection.scalar(estimate, {"most": ROWS_COUNTED_MAX, "table": rule.table})
        forgotten = mark.forgotten if mark is not None else 0
        forgotten_at = mark.forgotten_at if mark is not None else None
        found.append(RuleStatus(rule, rule.kept(settings), int(counted or 0), oldest, forgotten, forgotten_at))
    return found
