"""Each payout step has its customer event, and each event its deliveries."""

from datetime import timedelta
from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import CUSTOMER_EVENTS, PAYOUTS
from shared.events.deliveries import DELIVERY_RETENTION
from shared.payouts.lifecycle import EDGES
from shared.platform.database import encode_rows
from shared.platform.ids import EVENT, PAYOUT
from shared.schema.payouts import PayoutStatus

_STEPS_WITHOUT_EVENT: Final = """
    WITH written AS (
        SELECT payout_id, sequence, count(*) AS times, min(type) AS type, count(DISTINCT type) AS types
        FROM customer_events WHERE payout_id = ANY(:ids) GROUP BY payout_id, sequence
    ), expected AS (
        SELECT payout_id, sequence, edge.event AS type FROM payout_transitions
        JOIN json_to_recordset(CAST(:edges AS json)) AS edge (source text, target text, event text)
             ON edge.source = coalesce(from_status, '') AND edge.target = to_status
        WHERE payout_id = ANY(:ids)
    )
    SELECT payouts.wallet_id, payouts.id, CASE
        WHEN written.times IS NULL THEN 'step ' || expected.sequence || ' has no event ' || expected.type
        WHEN expected.type IS NULL
            THEN 'step ' || written.sequence || ' has an event ' || written.type || ', but should have none'
        WHEN written.times > 1
            THEN 'step ' || expected.sequence || ' has ' || written.times || ' events ' || expected.type
        ELSE 'step ' || written.sequence || ' has an event ' || written.type || ' instead of ' || expected.type END
        AS why
    FROM expected FULL JOIN written
         ON written.payout_id = expected.payout_id AND written.sequence = expected.sequence
    JOIN payouts ON payouts.id = coalesce(expected.payout_id, written.payout_id)
    WHERE expected.type IS DISTINCT FROM written.type OR written.times <> 1
"""

_EDGES: Final = encode_rows(
    [{"source": "", "target": PayoutStatus.VALIDATED, "event": "payout.created"}]
    + [
        {"source": source, "target": target, "event": effect.event}
        for (source, target), effect in EDGES.items()
        if effect.event
    ]
)

INVARIANT: Final = Invariant(
    "customer_events_written",
    "Each payout step that customers receive has exactly one event, and other steps have none",
    PAYOUTS,
    make_query_check(_STEPS_WITHOUT_EVENT, PAYOUT, edges=_EDGES),
)

_CHANGED_SHORTLY_BEFORE: Final = timedelta(minutes=1)
"""The event's transaction may not see an endpoint that changed so shortly before."""
_EXPIRY_MARGIN: Final = timedelta(days=1)
"""Retention deletes deliveries one after the other, from `DELIVERY_RETENTION` on."""

_EVENTS_WITHOUT_DELIVERY: Final = """
    SELECT event.wallet_id, event.id, event.type || ' has no delivery to ' || endpoint.url AS why
    FROM customer_events AS event JOIN webhook_endpoints AS endpoint ON endpoint.wallet_id = event.wallet_id
    WHERE event.id = ANY(:ids) AND endpoint.deleted_at IS NULL AND endpoint.status <> 'disabled'
          AND event.type = ANY (endpoint.events) AND endpoint.updated_at < event.created_at - CAST(:changed AS interval)
          AND event.created_at > :now - CAST(:kept AS interval)
          AND NOT EXISTS (SELECT FROM webhook_deliveries AS delivery
                          WHERE delivery.endpoint_id = endpoint.id AND delivery.event_id = event.id)
"""

DELIVERIES: Final = Invariant(
    "deliveries_written",
    "Each customer event has a delivery to each endpoint that subscribes to it",
    CUSTOMER_EVENTS,
    make_query_check(
        _EVENTS_WITHOUT_DELIVERY, EVENT, changed=_CHANGED_SHORTLY_BEFORE, kept=DELIVERY_RETENTION - _EXPIRY_MARGIN
    ),
)
