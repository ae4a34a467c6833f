"""Deliveries: the list of them, another try of one or of all since a time, a test, and forgetting old ones."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.events.customer_events import EVENT_API_VERSION, TEST_EVENT_TYPE
from shared.events.endpoints import EndpointRow
from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, InvalidRequest, NotFound
from shared.platform.ids import EVENT, WEBHOOK, first_id_at, new_id, public_id
from shared.platform.pagination import Page, PageRequest
from shared.schema.events import DeliveryStatus, EndpointStatus

DELIVERY_RETENTION: Final = timedelta(days=30)
"""How long a delivery is kept, and how far back events can be redelivered: so what waits for a paused endpoint, too."""

DELIVERIES_COUNTED_MAX: Final = 10_000
"""How far a list's length is counted."""

REDELIVERED_EVENTS_MAX: Final = 10_000
"""Events that one request redelivers."""


class DeliveryRow(NamedTuple):
    """A delivery as it is read, with its event's type; see `shared.schema.tables.webhooks.WebhookDelivery`."""

    event_id: uuid.UUID
    type: str
    status: str
    attempts: int
    http_status: int | None
    error: str | None
    duration_ms: int | None
    created_at: datetime
    attempted_at: datetime | None
    delivered_at: datetime | None
    next_action_at: datetime | None


def load_deliveries(
    connection: sa.Connection, endpoint: EndpointRow, wanted: PageRequest, status: DeliveryStatus | None
) -> Page[DeliveryRow]:
    """A part of an endpoint's deliveries, those of the newest events first."""
    where = "endpoint_id = :id" + (" AND status = :status" if status is not None else "")
    after = " AND event_id < :after" if wanted.after is not None else ""
    values = {
        "id": endpoint.id,
        "status": status and status.value,
        "after": wanted.after,
        "limit": wanted.size + 1,
        "skipped": wanted.skipped,
        "most": DELIVERIES_COUNTED_MAX,
    }
    found = connection.execute(
        sa.text(f"""
            SELECT event_id, type, status, attempts, http_status, error, duration_ms, created_at, attempted_at,
                   delivered_at, next_action_at
            FROM (SELECT * FROM webhook_deliveries WHERE {where}{after}
                  ORDER BY event_id DESC LIMIT :limit OFFSET :skipped) AS delivery
            JOIN customer_events ON customer_events.id = event_id ORDER BY event_id DESC
        """),
        values,
    )
    rows = [DeliveryRow._make(row) for row in found]
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE {where} LIMIT :most) AS counted"), values
    )
    return Page(rows[: wanted.size], total or 0, len(rows) > wanted.size)


_AGAIN: Final = """
    ON CONFLICT (endpoint_id, event_id) DO UPDATE SET status = 'pending', attempts = 0, next_action_at = :now,
        lease_token = NULL, lease_expires_at = NULL
"""


def redeliver_event(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint: EndpointRow, event_id: uuid.UUID | None, now: datetime
) -> None:
    """Makes an event due once more, with all of its attempts, whether or not the endpoint has ever got it.

    Raises:
        NotFound: the wallet has no event by that id.

    """
    done = connection.execute(
        sa.text(f"""
            INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
            SELECT :endpoint_id, id, wallet_id, 'pending', :now FROM customer_events
            WHERE id = :event_id AND wallet_id = :wallet_id AND created_at > :oldest {_AGAIN}
        """),
        {
            "endpoint_id": endpoint.id,
            "event_id": event_id,
            "wallet_id": wallet_id,
            "now": now,
            "oldest": now - DELIVERY_RETENTION,
        },
    )
    if done.rowcount == 0:
        raise NotFound("Delivery not found", code="DELIVERY_NOT_FOUND")
    _call_at_once(connection, endpoint)


class Redelivery(NamedTuple):
    """What was made due again."""

    number: int
    until: datetime | None
    """When the last of them happened, where there are more: go on from there."""


def redeliver_events_since(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    endpoint: EndpointRow,
    since: datetime,
    now: datetime,
    *,
    failed_only: bool,
) -> Redelivery:
    """Makes every event since a time due once more that the endpoint asks for, the oldest first, up to 10,000; or only
    those whose delivery has failed, or waits for another attempt.

    Raises:
        Invalid: the time is longer ago than deliveries are kept, or yet to come.

    """
    if not now - DELIVERY_RETENTION <= since <= now:
        raise InvalidRequest(
            f"since must be in the past, {DELIVERY_RETENTION.days} days ago at the most", field="since"
        )
    only = """
        AND EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = :endpoint_id
                    AND event_id = customer_events.id AND status <> 'delivered')
    """
    rows = connection.execute(
        sa.text(f"""
            WITH wanted AS (
                SELECT id, created_at FROM customer_events
                WHERE wallet_id = :wallet_id AND id >= :first_id AND created_at >= :since AND type = ANY (:types)
                      {only if failed_only else ""}
                ORDER BY id LIMIT :limit
            ), made AS (
                INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
                SELECT :endpoint_id, id, :wallet_id, 'pending', :now FROM wanted ORDER BY id {_AGAIN}
            )
            SELECT created_at FROM wanted ORDER BY id
        """),
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
    _call_at_once(connection, endpoint)
    return Redelivery(len(rows), rows[-1].created_at if len(rows) == REDELIVERED_EVENTS_MAX else None)


def send_test_event(connection: sa.Connection, wallet_id: uuid.UUID, endpoint: EndpointRow, now: datetime) -> uuid.UUID:
    """Writes an event for this endpoint alone. Returns its id.

    Raises:
        Conflict: the endpoint is not active, so it would not be called.

    """
    if endpoint.status != EndpointStatus.ACTIVE:
        raise Conflict(f"This webhook is {endpoint.status}: activate it first", code="WEBHOOK_NOT_ACTIVE")
    event_id = new_id()
    connection.execute(
        sa.text("""
            WITH delivery AS (
                INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
                VALUES (:endpoint_id, :id, :wallet_id, 'pending', :now)
            )
            INSERT INTO customer_events (id, wallet_id, type, sequence, data, created_at, api_version)
            VALUES (:id, :wallet_id, :type, 0, CAST(:data AS jsonb), :now, :api_version)
        """),
        {
            "endpoint_id": endpoint.id,
            "id": event_id,
            "wallet_id": wallet_id,
            "type": TEST_EVENT_TYPE,
            "data": encode_rows([{"id": public_id(WEBHOOK, endpoint.id), "message": "This is a test."}])[1:-1],
            "now": now,
            "api_version": EVENT_API_VERSION,
        },
    )
    _call_at_once(connection, endpoint)
    return event_id


def _call_at_once(connection: sa.Connection, endpoint: EndpointRow) -> None:
    """Somebody is at it: the endpoint is not left alone any longer."""
    connection.execute(
        sa.text("UPDATE webhook_endpoints SET not_before = NULL WHERE id = :id AND not_before IS NOT NULL"),
        {"id": endpoint.id},
    )


def delete_old_deliveries(connection: sa.Connection, now: datetime, *, limit: int) -> int:
    """Deletes at most `limit` deliveries of events that are older than 30 days. Returns how many."""
    done = connection.execute(
        sa.text("""
            DELETE FROM webhook_deliveries USING (
                SELECT old.endpoint_id, old.event_id FROM webhook_endpoints CROSS JOIN LATERAL (
                    SELECT endpoint_id, event_id FROM webhook_deliveries
                    WHERE endpoint_id = webhook_endpoints.id AND event_id < :before ORDER BY event_id LIMIT :limit
                ) AS old LIMIT :limit
            ) AS old
            WHERE webhook_deliveries.endpoint_id = old.endpoint_id AND webhook_deliveries.event_id = old.event_id
        """),
        {"before": first_id_at(now - DELIVERY_RETENTION), "limit": limit},
    )
    return done.rowcount


def delivery_payload(row: DeliveryRow) -> dict[str, Any]:
    """The delivery in the API's shape: its id is its event's, which goes to an endpoint once."""
    return {
        "id": public_id(EVENT, row.event_id),
        "event": row.type,
        "status": row.status,
        "attempts": row.attempts,
        "httpStatus": row.http_status,
        "error": row.error,
        "durationMs": row.duration_ms,
        "createdAt": format_rfc3339(row.created_at),
        "lastAttemptAt": row.attempted_at and format_rfc3339(row.attempted_at),
        "deliveredAt": row.delivered_at and format_rfc3339(row.delivered_at),
        "nextAttemptAt": row.next_action_at and format_rfc3339(row.next_action_at),
    }
