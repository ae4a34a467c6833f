"""Retention: what is kept how long, and why; and the scheduled job that forgets the rest.

A rule is carried out in portions, each a transaction of its own, by one scheduler at a time: it holds the rule's lock.
What moved money is kept for good, and so is who did what.
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
    """What a portion came to."""

    forgotten: int
    past: uuid.UUID | None
    """How far it has looked, for the rules that go through a table by id."""
    more: bool
    """Whether there may be more to forget now."""


class RetentionRule(NamedTuple):
    """Something that is not kept for ever."""

    name: str
    what: str
    why: str
    kept: Callable[[Settings], timedelta]
    table: str
    oldest: str
    """The query for when the oldest row began that the rule has not dealt with; `:past` is how far it has come."""
    forget: Callable[[sa.Connection, datetime, timedelta, uuid.UUID | None, int], SliceResult]
    """With the time, how long it is kept, how far it was, and how many rows to look at."""


class KeptForever(NamedTuple):
    """Something that is."""

    what: str
    why: str


def _days(name: str) -> Callable[[Settings], timedelta]:
    return lambda settings: timedelta(days=getattr(settings, name))


def _deleted(done: int, limit: int) -> SliceResult:
    return SliceResult(done, None, done >= limit)


def _through(
    connection: sa.Connection, table: str, change: str, past: uuid.UUID | None, before: datetime, limit: int
) -> SliceResult:
    """Goes on through a table by id, which is by time, and changes some of the rows on the way."""
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
"""Exactly what the trigger lets happen to an event; see `shared/schema/migrations/versions/0011_retention.py`."""

RETENTION_RULES: Final = (
    RetentionRule(
        "idempotency_keys",
        "customers' idempotency keys, with the answers that they got",
        "promised in the API: a key is free again after 48 hours",
        lambda settings: idempotency.KEY_LIFETIME,
        "idempotency_keys",
        "SELECT expires_at - interval '48 hours' FROM idempotency_keys ORDER BY expires_at LIMIT 1",
        lambda connection, now, kept, past, limit: _deleted(
            idempotency.delete_expired_keys(connection, now, limit=limit), limit
        ),
    ),
    RetentionRule(
        "sessions",
        "sign-ins, from their end on",
        "for whoever asks who was signed in lately (OVNPAY_KEEP_SESSIONS_DAYS)",
        _days("keep_sessions_days"),
        "sessions",
        "SELECT min(expires_at) FROM sessions",
        lambda connection, now, kept, past, limit: _deleted(
            sessions.delete_expired_sessions(connection, now - kept, limit=limit), limit
        ),
    ),
    RetentionRule(
        "webhook_deliveries",
        "attempts to deliver events to customers' webhooks",
        "promised in the API: events can be redelivered for 30 days",
        lambda settings: deliveries.DELIVERY_RETENTION,
        "webhook_deliveries",
        """
        SELECT min(created_at) FROM customer_events WHERE id IN (
            SELECT (SELECT event_id FROM webhook_deliveries WHERE endpoint_id = webhook_endpoints.id
                    ORDER BY event_id LIMIT 1) FROM webhook_endpoints)
        """,
        lambda connection, now, kept, past, limit: _deleted(
            deliveries.delete_old_deliveries(connection, now, limit=limit), limit
        ),
    ),
    RetentionRule(
        "personal_data_in_events",
        "names, addresses and account digits of drivers in the events that told of their verification: masked",
        "nothing can be delivered from them any more; the driver himself has them (OVNPAY_KEEP_PERSONAL_DATA_DAYS)",
        _days("keep_personal_data_days"),
        "customer_events",
        "SELECT created_at FROM customer_events WHERE id > :past ORDER BY id LIMIT 1",
        lambda connection, now, kept, past, limit: _through(
            connection, "customer_events", _MASK_DRIVERS, past, now - kept, limit
        ),
    ),
    RetentionRule(
        "provider_webhook_bodies",
        "the raw bodies of Paystream's webhooks that were applied or told nothing new: emptied",
        "an argument with a bank may take a year; what they said, and their hash, stay (OVNPAY_KEEP_BODIES_DAYS)",
        _days("keep_bodies_days"),
        "provider_events",
        "SELECT received_at FROM provider_events WHERE id > :past ORDER BY id LIMIT 1",
        lambda connection, now, kept, past, limit: _through(
            connection, "provider_events", _EMPTY_BODIES, past, now - kept, limit
        ),
    ),
)

KEPT_FOREVER: Final = (
    KeptForever(
        "payouts, batches, top-ups, and each step of theirs", "they are the truth that every proof starts from"
    ),
    KeptForever("transfers and accounts", "the ledger is never edited"),
    KeptForever("submissions, and what Paystream said of them", "who was asked to pay what, under which key"),
    KeptForever("webhooks of Paystream's that fitted nothing", "a person may still have to explain them"),
    KeptForever("events told to customers", "the feed can be read from its beginning"),
    KeptForever("the audit log", "who did what; it has no personal data in it"),
    KeptForever("comparisons and their cases, holds, resolutions", "why money was stopped, or let go"),
    KeptForever("drivers", "until their carrier deletes them"),
)


def apply_retention_rule(
    connection: sa.Connection, rule: RetentionRule, settings: Settings, now: datetime, *, limit: int
) -> SliceResult:
    """Carries a rule out on at most `limit` rows; on none where another scheduler is at it."""
    ours = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    if not connection.scalar(ours, {"name": f"retention {rule.name}"}):
        return SliceResult(0, None, False)
    past = connection.scalar(sa.text("SELECT past FROM retention_marks WHERE name = :name"), {"name": rule.name})
    done = rule.forget(connection, now, rule.kept(settings), past, limit)
    if done.forgotten or done.past != past:
        connection.execute(
            sa.text("""
                INSERT INTO retention_marks AS mark (name, past, forgotten, forgotten_at)
                VALUES (:name, :past, :forgotten, CASE WHEN :forgotten > 0 THEN CAST(:now AS timestamptz) END)
                ON CONFLICT (name) DO UPDATE SET past = excluded.past, forgotten = mark.forgotten + excluded.forgotten,
                    forgotten_at = coalesce(excluded.forgotten_at, mark.forgotten_at)
            """),
            {"name": rule.name, "past": done.past, "forgotten": done.forgotten, "now": now},
        )
    return done


class RuleStatus(NamedTuple):
    """How a rule stands."""

    rule: RetentionRule
    kept: timedelta
    rows: int
    """Of its table; counted up to 10,000, then the planner's estimate."""
    oldest: datetime | None
    """When the oldest row began that it has not dealt with."""
    forgotten: int
    forgotten_at: datetime | None

    @property
    def next_at(self) -> datetime | None:
        """When that one's time is over."""
        return None if self.oldest is None else self.oldest + self.kept


def load_rule_statuses(connection: sa.Connection, settings: Settings) -> list[RuleStatus]:
    """How every rule stands."""
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
