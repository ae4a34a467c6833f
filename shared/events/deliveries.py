"""Deliveries that a customer requests (redeliveries, test events), and deletion of old ones."""

import uuid
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.events.customer_events import EVENT_API_VERSION, TEST_EVENT_TYPE
from shared.events.rows import EndpointRow
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, InvalidRequest, NotFound
from shared.platform.ids import WEBHOOK, first_id_at, new_id, public_id
from shared.schema.events import EndpointStatus

DELIVERY_RETENTION: Final = timedelta(days=30)
"""How long deliveries are kept, also those waiting for a paused endpoint; and how old a redelivered event can be."""

REDELIVERED_EVENTS_MAX: Final = 10_000
"""Events redelivered by one request."""

# Resets an existing delivery: due now, with all attempts.
_MAKE_DUE_AGAIN: Final = """
    ON CONFLICT (endpoint_id, event_id) DO UPDATE SET status = 'pending', attempts = 0, next_action_at = :now,
        lease_token = NULL, lease_expires_at = NULL
"""
# Makes one event's delivery due with all attempts, or inserts it.
_REDELIVER: Final = sa.text(f"""
    INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
    SELECT :endpoint_id, id, wallet_id, 'pending', :now FROM customer_events
    WHERE id = :event_id AND wallet_id = :wallet_id AND created_at > :oldest {_MAKE_DUE_AGAIN}
""")


def redeliver_event(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint: EndpointRow, event_id: uuid.UUID | None, now: datetime
) -> None:
    """Make an event due for the endpoint, with all attempts, whether or not it was delivered before.

    Raises:
        NotFound: the wallet has no such event within `DELIVERY_RETENTION`.
    """
    written = connection.execute(
        _REDELIVER,
        {
            "endpoint_id": endpoint.id,
            "event_id": event_id,
            "wallet_id": wallet_id,
            "now": now,
            "oldest": now - DELIVERY_RETENTION,
        },
    )
    if written.rowcount == 0:
        raise NotFound("Delivery not found", code="DELIVERY_NOT_FOUND")
    _end_cooldown(connection, endpoint)


class Redelivery(NamedTuple):
    event_count: int
    until: datetime | None
    """Time of the last of them if there are more events: where to continue."""


# Makes the deliveries of events since a time due with all attempts, or inserts them, oldest first.
_REDELIVER_SINCE: Final = """
    WITH wanted AS (
        SELECT id, created_at FROM customer_events
        WHERE wallet_id = :wallet_id AND id >= :first_id AND created_at >= :since AND type = ANY (:types)
              {condition}
        ORDER BY id LIMIT :limit
    ), written AS (
        INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
        SELECT :endpoint_id, id, :wallet_id, 'pending', :now FROM wanted ORDER BY id {on_conflict}
    )
    SELECT created_at FROM wanted ORDER BY id
"""
# Condition on `customer_events`: its delivery failed or waits for another attempt.
_HAS_UNDELIVERED: Final = """
    AND EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = :endpoint_id
                AND event_id = customer_events.id AND status <> 'delivered')
"""
_REDELIVER_ALL: Final = sa.text(_REDELIVER_SINCE.format(condition="", on_conflict=_MAKE_DUE_AGAIN))
_REDELIVER_FAILED: Final = sa.text(_REDELIVER_SINCE.format(condition=_HAS_UNDELIVERED, on_conflict=_MAKE_DUE_AGAIN))


def redeliver_events_since(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    endpoint: EndpointRow,
    since: datetime,
    now: datetime,
    *,
    failed_only: bool,
) -> Redelivery:
    """Make events due again that the endpoint subscribes to; with `failed_only`, only those not delivered.

    Raises:
        InvalidRequest: `since` is in the future or before `DELIVERY_RETENTION`.
    """
    if not now - DELIVERY_RETENTION <= since <= now:
        raise InvalidRequest(f"`since` must be in the past, at most {DELIVERY_RETENTION.days} days ago", field="since")
    rows = connection.execute(
        _REDELIVER_FAILED if failed_only else _REDELIVER_ALL,
        {
            "wallet_id": wallet_id,
            "endpoint_id": endpoint.id,
            "first_id": first_id_at(since, -timedelta(minutes=10)),
            "since": since,
            "types": endpoint.events,
            "limit": REDELIVERED_EVENTS_MAX,
            "now": now,
        },
    ).all()
    _end_cooldown(connection, endpoint)
    return Redelivery(len(rows), rows[-1].created_at if len(rows) == REDELIVERED_EVENTS_MAX else None)


# Inserts an event and its delivery to one endpoint.
_INSERT_TEST: Final = sa.text("""
    WITH delivery AS (
        INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
        VALUES (:endpoint_id, :id, :wallet_id, 'pending', :now)
    )
    INSERT INTO customer_events (id, wallet_id, type, sequence, data, created_at, api_version)
    VALUES (:id, :wallet_id, :type, 0, CAST(:data AS jsonb), :now, :api_version)
""")


def send_test_event(connection: sa.Connection, wallet_id: uuid.UUID, endpoint: EndpointRow, now: datetime) -> uuid.UUID:
    """Write a test event for this endpoint alone; return its id.

    Raises:
        Conflict: the endpoint is not active.

    """
    if endpoint.status != EndpointStatus.ACTIVE:
        raise Conflict(f"This webhook is {endpoint.status}. Activate it first.", code="WEBHOOK_NOT_ACTIVE")
    event_id = new_id()
    data = {"id": public_id(WEBHOOK, endpoint.id), "message": "This is a test."}
    connection.execute(
        _INSERT_TEST,
        {
            "endpoint_id": endpoint.id,
            "id": event_id,
            "wallet_id": wallet_id,
            "type": TEST_EVENT_TYPE,
            "data": encode_rows([data])[1:-1],
            "now": now,
            "api_version": EVENT_API_VERSION,
        },
    )
    _end_cooldown(connection, endpoint)
    return event_id


# Allows calls to an endpoint now; locks its row.
_END_COOLDOWN: Final = sa.text(
    "UPDATE webhook_endpoints SET not_before = NULL WHERE id = :id AND not_before IS NOT NULL"
)


def _end_cooldown(connection: sa.Connection, endpoint: EndpointRow) -> None:
    connection.execute(_END_COOLDOWN, {"id": endpoint.id})


# Deletes deliveries of events before an id, a limited number.
_DELETE_OLD: Final = sa.text("""
    DELETE FROM webhook_deliveries USING (
        SELECT old.endpoint_id, old.event_id FROM webhook_endpoints CROSS JOIN LATERAL (
            SELECT endpoint_id, event_id FROM webhook_deliveries
            WHERE endpoint_id = webhook_endpoints.id AND event_id < :before ORDER BY event_id LIMIT :limit
        ) AS old LIMIT :limit
    ) AS old
    WHERE webhook_deliveries.endpoint_id = old.endpoint_id AND webhook_deliveries.event_id = old.event_id
""")


def delete_old_deliveries(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Delete at most `limit` deliveries older than `DELIVERY_RETENTION`; return how many."""
    return connection.execute(_DELETE_OLD, {"before": first_id_at(now - DELIVERY_RETENTION), "limit": limit}).rowcount
