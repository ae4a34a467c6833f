"""Row types of endpoints and deliveries, and API payloads of them and of events."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shared.platform.clock import format_rfc3339
from shared.platform.ids import EVENT, WEBHOOK, public_id


class EndpointRow(NamedTuple):
    id: uuid.UUID
    url: str
    events: list[str]
    status: str
    paused_reason: str | None
    failing_since: datetime | None
    previous_secret_valid_until: datetime | None
    created_at: datetime
    updated_at: datetime


class IssuedEndpoint(NamedTuple):
    row: EndpointRow
    secret: str


class DeliveryRow(NamedTuple):
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


def endpoint_payload(row: EndpointRow, now: datetime) -> dict[str, Any]:
    """The endpoint as the API shows it, without its secret."""
    until = row.previous_secret_valid_until
    return {
        "id": public_id(WEBHOOK, row.id),
        "url": row.url,
        "events": row.events,
        "status": row.status,
        "pausedReason": row.paused_reason,
        "failingSince": row.failing_since and format_rfc3339(row.failing_since),
        "previousSecretValidUntil": format_rfc3339(until) if until is not None and until > now else None,
        "createdAt": format_rfc3339(row.created_at),
        "updatedAt": format_rfc3339(row.updated_at),
    }


def delivery_payload(row: DeliveryRow) -> dict[str, Any]:
    """The delivery as the API shows it, with its event's id."""
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


def event_payload(event: Any) -> dict[str, Any]:
    """The event, a row of `customer_events`, as the API shows it."""
    return {
        "id": public_id(EVENT, event.id),
        "type": event.type,
        "apiVersion": event.api_version,
        "createdAt": format_rfc3339(event.created_at),
        "sequence": event.sequence,
        "data": event.data,
    }


def event_body(event: Any) -> bytes:
    """The body of the event's webhook: the same bytes on every attempt."""
    return msgspec.json.encode(event_payload(event))
