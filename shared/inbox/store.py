"""Storing notices: each once, under the provider's event id, in one transaction for all that came together.

Most of what comes decides nothing (created, processing), and wakes no worker: where it agrees with our record that is
seen here, and where it is faster than the answer to our own call it is taken along with the next that a worker is woken
for, or by the tick.
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
    """What became of a notice at the door."""

    STORED = "stored"
    REPEATED = "repeated"
    """It was in already: nothing was done."""
    CONTRADICTED = "contradicted"
    """Its id was in already, with another body: stored beside the first, for a worker to hold the payout."""


class StoredNotifications(NamedTuple):
    """What storing did."""

    receipts: list[StoreResult]
    """One for each notice, in order."""
    waiting: list[uuid.UUID]
    """The new ones that a worker has to look at: ring for them."""


# One payment and one payout are looked up for each notice, by their keys: of joins Postgres believes that the function
# gives a hundred rows, and reads all submission items for each group while those are some ten thousands: 2.5 ms of 2.7.
_INSERT: Final = sa.text("""
    INSERT INTO provider_events (id, event_key, body_sha256, type, payment_id, payout_id, amount_cents, currency,
                                 recipient_id, driver_id, failure_code, failure_reason, body, contradicts, wallet_id,
                                 status, outcome, received_at, next_action_at, handled_at)
    SELECT made.*, CASE WHEN made.status = 'ignored' AND made.wallet_id IS NOT NULL THEN 'a notice on the way'
                        WHEN made.status = 'ignored' THEN 'not about a payment' END,
           :now, CASE made.status WHEN 'received' THEN CAST(:due AS timestamptz) END,
           CASE made.status WHEN 'ignored' THEN CAST(:now AS timestamptz) END
    FROM (
        SELECT notice.id, event_key, decode(body_sha256, 'base64'), type, notice.payment_id,
               coalesce(notice.payout_id, item.payout_id), notice.amount_cents, notice.currency, notice.recipient_id,
               notice.driver_id, notice.failure_code, notice.failure_reason, decode(body, 'base64'), contradicts,
               payout.wallet_id,
               CASE WHEN contradicts IS NOT NULL THEN 'received'
                    WHEN NOT concerns_us THEN 'ignored'
                    WHEN on_the_way AND payout.id = item.payout_id
                         AND (notice.payout_id IS NULL OR notice.payout_id = item.payout_id)
                         AND (notice.amount_cents IS NULL OR notice.amount_cents = item.net_cents)
                         AND (notice.currency IS NULL OR lower(notice.currency) = lower(payout.currency))
                         AND (notice.recipient_id IS NULL OR notice.recipient_id = item.recipient_id)
                         AND (notice.driver_id IS NULL OR notice.driver_id = payout.driver_id) THEN 'ignored'
                    ELSE 'received' END AS status
        FROM json_to_recordset(CAST(:notices AS json)) AS notice (
            id uuid, event_key text, body_sha256 text, type text, payment_id text, payout_id uuid,
            amount_cents bigint, currency text, recipient_id text, driver_id uuid, failure_code text,
            failure_reason text, body text, contradicts uuid, concerns_us bool, on_the_way bool)
        LEFT JOIN LATERAL (
            SELECT payout_id, net_cents, recipient_id FROM submission_items
            WHERE provider_payment_id = notice.payment_id LIMIT 1) AS item ON true
        LEFT JOIN LATERAL (
            SELECT payouts.id, wallet_id, driver_id, wallets.currency
            FROM payouts JOIN wallets ON wallets.id = wallet_id
            WHERE payouts.id = coalesce(item.payout_id, notice.payout_id) LIMIT 1) AS payout ON true
    ) AS made
    ON CONFLICT (event_key) DO NOTHING RETURNING id, status = 'received', wallet_id IS NULL
""")

_FIRSTS: Final = sa.text("SELECT event_key, id, body_sha256 FROM provider_events WHERE event_key = ANY(:keys)")


def store_notifications(
    connection: sa.Connection, notices: Sequence[ProviderNotification], now: datetime, *, grace: timedelta
) -> StoredNotifications:
    """Stores the notices that are new; `grace` is how long the doorbell has before the tick rings for them.

    The same id with another body is a contradiction: it is stored too, for a worker to hold the payout.
    """
    waiting = _insert(connection, notices, now, grace)
    repeats = [notice for notice in notices if notice.id not in waiting]
    contradictions = _contradictions(connection, repeats) if repeats else {}
    waiting |= _insert(connection, list(contradictions.values()), now, grace)
    receipts = [
        StoreResult.CONTRADICTED
        if notice.id in contradictions
        else StoreResult.STORED
        if notice.id in waiting
        else StoreResult.REPEATED
        for notice in notices
    ]
    return StoredNotifications(receipts, sorted(one for one, waits in waiting.items() if waits))


def _insert(
    connection: sa.Connection, notices: Sequence[ProviderNotification], now: datetime, grace: timedelta
) -> dict[uuid.UUID, bool]:
    """Inserts those whose key is new. The ids of these, each with whether a worker has to look at it."""
    if not notices:
        return {}
    first = {notice.event_key: notice for notice in reversed(notices)}
    made = encode_rows(first[key] for key in sorted(first))
    early = {notice.id for notice in first.values() if notice.on_the_way and notice.contradicts is None}
    rows = connection.execute(_INSERT, {"now": now, "due": now + grace, "notices": made}).all()
    # What decides nothing and is about a payment that we don't know yet, as a rule for some milliseconds more, wakes
    # nobody: a worker who looked at once would put it off for nothing.
    return {event_id: waits and not (unknown and event_id in early) for event_id, waits, unknown in rows}


def _contradictions(
    connection: sa.Connection, repeats: Sequence[ProviderNotification]
) -> dict[uuid.UUID, ProviderNotification]:
    """Those of the repeats whose body is another than the one we have, by their id, each with a key of its own."""
    rows = connection.execute(_FIRSTS, {"keys": [notice.event_key for notice in repeats]})
    known: dict[str, Any] = {row.event_key: row for row in rows}
    found = {}
    for notice in repeats:
        first = known.get(notice.event_key)
        if first is not None and bytes(first.body_sha256) != notice.body_sha256:
            logger.error("provider_event.contradicted", event_key=notice.event_key, type=notice.type)
            key = f"{notice.event_key} sha256:{notice.body_sha256.hex()}"
            found[notice.id] = replace(notice, id=new_id(), event_key=key, contradicts=first.id)
    return found
