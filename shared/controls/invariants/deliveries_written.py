"""Has every customer event its delivery, to each endpoint that wanted it when it happened?"""

from datetime import timedelta
from typing import Final

from shared.controls.invariants.invariant import Invariant, find_violations_query
from shared.controls.invariants.subjects import CUSTOMER_EVENTS
from shared.events.deliveries import DELIVERY_RETENTION
from shared.platform.ids import EVENT

_AT_ONCE: Final = timedelta(minutes=1)
"""An endpoint changed so shortly before an event may not have been seen by the event's transaction."""
_FORGETTING: Final = timedelta(days=1)
"""Deliveries are forgotten one after the other, from `DELIVERY_RETENTION` on."""

_BREAKS: Final = """
    SELECT event.wallet_id, event.id, event.type || ' has no delivery to ' || endpoint.url AS why
    FROM customer_events AS event JOIN webhook_endpoints AS endpoint ON endpoint.wallet_id = event.wallet_id
    WHERE event.id = ANY(:ids) AND endpoint.deleted_at IS NULL AND endpoint.status <> 'disabled'
          AND event.type = ANY (endpoint.events) AND endpoint.updated_at < event.created_at - CAST(:at_once AS interval)
          AND event.created_at > :now - CAST(:kept AS interval)
          AND NOT EXISTS (SELECT FROM webhook_deliveries AS delivery
                          WHERE delivery.endpoint_id = endpoint.id AND delivery.event_id = event.id)
"""

INVARIANT: Final = Invariant(
    "deliveries_written",
    "Every customer event has its delivery to each endpoint that wants it",
    CUSTOMER_EVENTS,
    find_violations_query(_BREAKS, EVENT, at_once=_AT_ONCE, kept=DELIVERY_RETENTION - _FORGETTING),
)
