"""Store notifications: each event id once, all that arrived together in one transaction.

Progress events (created, processing) that agree with our record are finished here, without a worker.
"""

import enum
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog
from msgspec.structs import replace

from shared.inbox.notification import ProviderNotification
from shared.platform.database import encode_rows
from shared.platform.ids import new_id

logger = structlog.get_logger(__name__)


class StoreResult(enum.StrEnum):
    """What was done with a notification."""

    STORED = "stored"
    REPEATED = "repeated"
    """The event is stored already."""
    CONTRADICTED = "contradicted"
    """Its event id is stored with another body: stored as a contradiction, for a worker to put the payout on hold."""


class StoredNotifications(NamedTuple):
    """The results of storing notifications."""

    results: list[StoreResult]
    """One for each notification, in order."""
    waiting: list[uuid.UUID]
    """New events that a worker must apply: enqueue them."""


# Inserts the notifications whose event key is new, in order of the key; locks nothing else. LATERAL lookups by key: for
# plain joins Postgres estimates a hundred rows and scans all submission items per group, 2.5 ms of 2.7.
_INSERT_EVENTS: Final = sa.text("""
    INSERT INTO provider_events (id, event_key, body_sha256, type, payment_id, payout_id, amount_cents, currency,
                                 recipient_id, driver_id, failure_code, failure_reason, body, contradicts, wallet_id,
                                 status, outcome, received_at, next_action_at, handled_at)
    SELECT made.*, CASE WHEN made.status = 'ignored' AND made.wallet_id IS NOT NULL THEN 'payment in progress'
                        WHEN made.status = 'ignored' THEN 'not about a payment' END,
           :now, CASE made.status WHEN 'received' THEN CAST(:due AS timestamptz) END,
           CASE made.status WHEN 'ignored' THEN CAST(:now AS timestamptz) END
    FROM (
        SELECT input.id, event_key, decode(body_sha256, 'base64'), type, input.payment_id,
               coalesce(input.payout_id, item.payout_id), input.amount_cents, input.currency, input.recipient_id,
               input.driver_id, input.failure_code, input.failure_reason, decode(body, 'base64'), contradicts,
               payout.wallet_id,
               CASE WHEN contradicts IS NOT NULL THEN 'received'
                    WHEN NOT is_about_payment THEN 'ignored'
                    WHEN is_progress AND payout.id = item.payout_id
                         AND (input.payout_id IS NULL OR input.payout_id = item.payout_id)
                         AND (input.amount_cents IS NULL OR input.amount_cents = item.net_cents)
                         AND (input.currency IS NULL OR lower(input.currency) = lower(payout.currency))
                         AND (input.recipient_id IS NULL OR input.recipient_id = item.recipient_id)
                         AND (input.driver_id IS NULL OR input.driver_id = payout.driver_id) THEN 'ignored'
                    ELSE 'received' END AS status
        FROM json_to_recordset(CAST(:notifications AS json)) AS input (
            id uuid, event_key text, body_sha256 text, type text, payment_id text, payout_id uuid,
            amount_cents bigint, currency text, recipient_id text, driver_id uuid, failure_code text,
            failure_reason text, body text, contradicts uuid, is_about_payment bool, is_progress bool)
        LEFT JOIN LATERAL (
            SELECT payout_id, net_cents, recipient_id FROM submission_items
            WHERE provider_payment_id = input.payment_id LIMIT 1) AS item ON true
        LEFT JOIN LATERAL (
            SELECT payouts.id, wallet_id, driver_id, wallets.currency
            FROM payouts JOIN wallets ON wallets.id = wallet_id
            WHERE payouts.id = coalesce(item.payout_id, input.payout_id) LIMIT 1) AS payout ON true
    ) AS made
    ON CONFLICT (event_key) DO NOTHING RETURNING id, status = 'received', wallet_id IS NULL
""")

# The stored events with these event keys; locks nothing.
_STORED_EVENTS: Final = sa.text("SELECT event_key, id, body_sha256 FROM provider_events WHERE event_key = ANY(:keys)")


def store_notifications(
    connection: sa.Connection, notifications: Sequence[ProviderNotification], now: datetime, *, grace: timedelta
) -> StoredNotifications:
    """Store the notifications that are new; `grace` is the time for their wake-up before the tick enqueues them."""
    inserted = _insert(connection, notifications, now, grace)
    repeats = [one for one in notifications if one.id not in inserted]
    contradictions = _contradictions(connection, repeats) if repeats else {}
    inserted |= _insert(connection, list(contradictions.values()), now, grace)
    results = [
        StoreResult.CONTRADICTED
        if one.id in contradictions
        else StoreResult.STORED
        if one.id in inserted
        else StoreResult.REPEATED
        for one in notifications
    ]
    return StoredNotifications(results, sorted(event_id for event_id, waits in inserted.items() if waits))


# Returns the ids of the new ones, each with whether to wake a worker for it.
def _insert(
    connection: sa.Connection, notifications: Sequence[ProviderNotification], now: datetime, grace: timedelta
) -> dict[uuid.UUID, bool]:
    if not notifications:
        return {}
    first = {one.event_key: one for one in reversed(notifications)}
    rows = encode_rows(first[key] for key in sorted(first))
    early = {one.id for one in first.values() if one.is_progress and one.contradicts is None}
    inserted = connection.execute(_INSERT_EVENTS, {"now": now, "due": now + grace, "notifications": rows}).all()
    # Progress of a payment that is not known yet, usually for some milliseconds more, wakes no worker: the worker could
    # only postpone it.
    return {event_id: waits and not (unknown and event_id in early) for event_id, waits, unknown in inserted}


def _contradictions(
    connection: sa.Connection, repeats: Sequence[ProviderNotification]
) -> dict[uuid.UUID, ProviderNotification]:
    rows = connection.execute(_STORED_EVENTS, {"keys": [one.event_key for one in repeats]})
    stored: dict[str, Any] = {row.event_key: row for row in rows}
    found = {}
    for one in repeats:
        first = stored.get(one.event_key)
        if first is not None and bytes(first.body_sha256) != one.body_sha256:
            logger.error("provider_event.contradicted", event_key=one.event_key, type=one.type)
            key = f"{one.event_key} sha256:{one.body_sha256.hex()}"
            found[one.id] = replace(one, id=new_id(), event_key=key, contradicts=first.id)
    return found
