"""Apply stored provider events to their payouts, and record each event's result."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from shared.payouts.payment_updates import PaymentUpdate, UpdateResult, UpdateStatus
from shared.payouts.settle import finish_settlement, start_settlement
from shared.platform.database import encode_rows
from shared.platform.pipelined_queries import Query, no_result, run_queries
from shared.provider.outcomes import backoff_seconds

logger = structlog.get_logger(__name__)

ORPHAN_LIFETIME: Final = timedelta(days=1)
"""How long an event about an unknown payment is retried."""

EVENTS_PER_TRANSACTION_MAX: Final = 250
"""Limits how long one transaction locks a wallet."""

ORPHAN_EXPIRED_OUTCOME: Final = "given up after a day: no payment of ours by that id"


class AppliedEvent(NamedTuple):
    """The result of applying one event."""

    event_id: uuid.UUID
    status: UpdateStatus
    outcome: str
    """A short explanation."""
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None
    received_at: datetime
    due: datetime | None
    """When it is retried; None if it is finished."""


class _WaitingEvent(NamedTuple):
    id: uuid.UUID
    type: str
    payment_id: str | None
    payout_id: uuid.UUID | None
    amount_cents: int | None
    currency: str | None
    recipient_id: str | None
    driver_id: uuid.UUID | None
    failure_code: str | None
    failure_reason: str | None
    received_at: datetime
    attempts: int
    contradicts: uuid.UUID | None
    first_payment_id: str | None
    first_payout_id: uuid.UUID | None
    """Named by the event that this one contradicts."""


# Events whose wallet is locked by another transaction. Locks the other events' wallets until the transaction ends.
_EVENTS_OF_LOCKED_WALLETS: Final = sa.text("""
    WITH named AS (
        SELECT event.id, payouts.wallet_id
        FROM provider_events AS event
        LEFT JOIN submission_items AS items ON items.provider_payment_id = event.payment_id
        JOIN payouts ON payouts.id = coalesce(items.payout_id, event.payout_id)
        WHERE event.id = ANY(:ids)
    ), free AS (
        SELECT wallet_id FROM accounts
        WHERE kind = 'available' AND wallet_id IN (SELECT wallet_id FROM named) FOR UPDATE SKIP LOCKED
    )
    SELECT id FROM named WHERE wallet_id NOT IN (SELECT wallet_id FROM free)
""")


def events_of_locked_wallets(connection: sa.Connection, event_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return the events whose wallet is locked by another transaction. Locks the other wallets: run it alone."""
    return set(connection.scalars(_EVENTS_OF_LOCKED_WALLETS, {"ids": list(event_ids)}))


# Limits the wait for each lock of the transaction.
_LOCK_TIMEOUT: Final = sa.text("SELECT set_config('lock_timeout', :timeout, true)")

# Locks the events that still wait, contradictions first; skips locked ones.
_LOCK_WAITING_EVENTS: Final = sa.text("""
    SELECT event.id, event.type, event.payment_id, event.payout_id, event.amount_cents, event.currency,
           event.recipient_id, event.driver_id, event.failure_code, event.failure_reason, event.received_at,
           event.attempts, event.contradicts, first.payment_id, first.payout_id
    FROM provider_events AS event LEFT JOIN provider_events AS first ON first.id = event.contradicts
    WHERE event.id = ANY(:ids) AND event.status IN ('received', 'orphan')
    ORDER BY event.contradicts IS NULL, event.id FOR UPDATE OF event SKIP LOCKED
""")


def apply_events(
    connection: sa.Connection, event_ids: Sequence[uuid.UUID], now: datetime, *, lock_timeout: timedelta | None = None
) -> list[AppliedEvent]:
    """Apply the events that still wait, in order of arrival, contradictions first.

    An event about an unknown payment becomes an `orphan`: it may arrive before the response to our own call.

    Raises:
        sqlalchemy.exc.OperationalError: caused by psycopg.errors.LockNotAvailable after `lock_timeout`.

    """
    timeout = None
    if lock_timeout is not None:
        milliseconds = lock_timeout // timedelta(milliseconds=1)
        timeout = Query(_LOCK_TIMEOUT, {"timeout": f"{milliseconds}ms"}, no_result)
    waiting = Query(
        _LOCK_WAITING_EVENTS, {"ids": list(event_ids)}, lambda found: [_WaitingEvent._make(row) for row in found]
    )
    _, rows = run_queries(connection, timeout, waiting)
    updates = [_payment_update(row) for row in rows]
    # Two bodies with one event id may name two payments: neither is trusted, so both payouts are put on hold.
    contradictions = [row for row in rows if row.contradicts is not None]
    first_updates = [
        _payment_update(row)._replace(payment_id=row.first_payment_id, payout_id=row.first_payout_id)
        for row in contradictions
    ]
    settlement = start_settlement(connection, [*first_updates, *updates], now)
    results = settlement.results
    first_results = dict(zip((row.id for row in contradictions), results, strict=False))
    applied = []
    for row, result in zip(rows, results[len(first_updates) :], strict=True):
        first_result = first_results.get(row.id) if result.status is UpdateStatus.ORPHAN else None
        applied.append(_applied_event(row, first_result or result, now))
    finish_settlement(connection, settlement, now, _record_results_query(applied, now) if applied else None)
    return applied


def _payment_update(row: _WaitingEvent) -> PaymentUpdate:
    return PaymentUpdate(
        state=row.type.partition(".")[2],
        payment_id=row.payment_id,
        payout_id=row.payout_id,
        amount_cents=row.amount_cents,
        currency=row.currency,
        recipient_id=row.recipient_id,
        driver_id=row.driver_id,
        failure_code=row.failure_code,
        failure_reason=row.failure_reason,
        source="webhook",
        contradicted=row.contradicts is not None,
    )


def _applied_event(row: _WaitingEvent, result: UpdateResult, now: datetime) -> AppliedEvent:
    due, outcome = None, result.outcome
    if result.status is UpdateStatus.ORPHAN:
        if now - row.received_at < ORPHAN_LIFETIME:
            due = now + timedelta(seconds=backoff_seconds(row.attempts + 1))
        else:
            outcome = ORPHAN_EXPIRED_OUTCOME
            logger.error("provider_event.unplaced", event_id=row.id.hex, type=row.type, payment=row.payment_id)
    return AppliedEvent(row.id, result.status, outcome, result.payout_id, result.wallet_id, row.received_at, due)


# Records the results of locked events.
_RECORD_RESULTS: Final = sa.text("""
    UPDATE provider_events SET status = applied.status, outcome = applied.outcome, attempts = attempts + 1,
        payout_id = coalesce(applied.payout_id, provider_events.payout_id),
        wallet_id = coalesce(provider_events.wallet_id, applied.wallet_id),
        next_action_at = applied.due, handled_at = CASE WHEN applied.due IS NULL THEN :now END
    FROM json_to_recordset(CAST(:applied AS json))
         AS applied (id uuid, status text, outcome text, payout_id uuid, wallet_id uuid, due timestamptz)
    WHERE provider_events.id = applied.id
""")


class _ResultRow(msgspec.Struct):
    """A row of the parameter of `_RECORD_RESULTS`."""

    id: uuid.UUID
    status: UpdateStatus
    outcome: str
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None
    due: datetime | None


def _record_results_query(applied: Sequence[AppliedEvent], now: datetime) -> Query[None]:
    rows = (_ResultRow(one.event_id, one.status, one.outcome, one.payout_id, one.wallet_id, one.due) for one in applied)
    return Query(_RECORD_RESULTS, {"now": now, "applied": encode_rows(rows)}, no_result)
