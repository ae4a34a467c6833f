"""Handling stored notices: what they say is settled, and each remembers what it did."""

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
"""How long a notice about a payment that we do not know is tried again."""

EVENTS_PER_TRANSACTION_MAX: Final = 250
"""How many are applied in one transaction where many wait: more would hold a wallet's lock for long."""

ORPHAN_EXPIRED_OUTCOME: Final = "given up after a day: no payment of ours by that id"


class AppliedEvent(NamedTuple):
    """What became of one notice."""

    event_id: uuid.UUID
    verdict: UpdateStatus
    outcome: str
    """In a few words."""
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None
    received_at: datetime
    due: datetime | None
    """When it is tried again; None: this was its end."""


class _Waiting(NamedTuple):
    """A notice that waits, as it is read."""

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
    """What the notice named that it contradicts."""


_OF_HELD_WALLETS = sa.text("""
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
    """Those of the events whose wallet's lock somebody else holds at this moment. Takes the others' locks itself: to be
    asked in a transaction of its own.
    """
    return set(connection.scalars(_OF_HELD_WALLETS, {"ids": list(event_ids)}))


_LOCK_TIMEOUT = sa.text("SELECT set_config('lock_timeout', :timeout, true)")

_WAITING = sa.text("""
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
    """Applies those of the events that still wait, in the order in which they came, contradictions first.

    A notice about a payment that we do not know waits as `orphan` and is tried again for a day: it may be faster
    than the answer to our own call. `lock_timeout` is how long one lock is waited for, where not as long as ever.

    Raises:
        sqlalchemy.exc.OperationalError: by psycopg.errors.LockNotAvailable, where somebody held a lock for longer.

    """
    timeout = None
    if lock_timeout is not None:
        milliseconds = lock_timeout // timedelta(milliseconds=1)
        timeout = Query(_LOCK_TIMEOUT, {"timeout": f"{milliseconds}ms"}, no_result)
    waiting = Query(_WAITING, {"ids": list(event_ids)}, lambda found: [_Waiting._make(row) for row in found])
    _, rows = run_queries(connection, timeout, waiting)
    reports = [_report(row) for row in rows]
    # Two bodies under one id may name two payments: neither is to be trusted.
    contradictions = [row for row in rows if row.contradicts is not None]
    firsts = [
        _report(row)._replace(payment_id=row.first_payment_id, payout_id=row.first_payout_id) for row in contradictions
    ]
    settlement = start_settlement(connection, [*firsts, *reports], now)
    results = settlement.results
    of_first = dict(zip((row.id for row in contradictions), results, strict=False))
    handled = []
    for row, result in zip(rows, results[len(firsts) :], strict=True):
        placed = of_first.get(row.id) if result.status is UpdateStatus.ORPHAN else None
        handled.append(_handled(row, placed or result, now))
    finish_settlement(connection, settlement, now, _remembering(handled, now) if handled else None)
    return handled


def _report(row: _Waiting) -> PaymentUpdate:
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


def _handled(row: _Waiting, answer: UpdateResult, now: datetime) -> AppliedEvent:
    due, outcome = None, answer.outcome
    if answer.status is UpdateStatus.ORPHAN:
        if now - row.received_at < ORPHAN_LIFETIME:
            due = now + timedelta(seconds=backoff_seconds(row.attempts + 1))
        else:
            outcome = ORPHAN_EXPIRED_OUTCOME
            logger.error("provider_event.unplaced", event_id=row.id.hex, type=row.type, payment=row.payment_id)
    return AppliedEvent(row.id, answer.status, outcome, answer.payout_id, answer.wallet_id, row.received_at, due)


_REMEMBER = sa.text("""
    UPDATE provider_events SET status = handled.status, outcome = handled.outcome, attempts = attempts + 1,
        payout_id = coalesce(handled.payout_id, provider_events.payout_id),
        wallet_id = coalesce(provider_events.wallet_id, handled.wallet_id),
        next_action_at = handled.due, handled_at = CASE WHEN handled.due IS NULL THEN :now END
    FROM json_to_recordset(CAST(:handled AS json))
         AS handled (id uuid, status text, outcome text, payout_id uuid, wallet_id uuid, due timestamptz)
    WHERE provider_events.id = handled.id
""")


class _Remembered(msgspec.Struct):
    """What became of a notice, as it is sent to the database."""

    id: uuid.UUID
    status: UpdateStatus
    outcome: str
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None
    due: datetime | None


def _remembering(handled: Sequence[AppliedEvent], now: datetime) -> Query[None]:
    rows = (
        _Remembered(one.event_id, one.verdict, one.outcome, one.payout_id, one.wallet_id, one.due) for one in handled
    )
    return Query(_REMEMBER, {"now": now, "handled": encode_rows(rows)}, no_result)
