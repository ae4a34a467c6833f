"""Writes customer events and their deliveries, in the transaction of the change that they report.

One statement writes both: an event never exists without a delivery to each subscribed endpoint.
"""

import enum
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.platform.database import encode_rows
from shared.platform.ids import new_id
from shared.platform.pipelined_queries import Query, no_result, run_queries

EVENT_API_VERSION: Final = "2026-02-01"
"""The API version that defines the shape of events' data."""

TEST_EVENT_TYPE: Final = "webhook.test"
"""Type of the event that `deliveries.send_test_event` sends to one endpoint; endpoints can't subscribe to it."""


class EventType(enum.StrEnum):
    """Event types that an endpoint can subscribe to."""

    PAYOUT_CREATED = "payout.created"
    PAYOUT_SUCCEEDED = "payout.succeeded"
    PAYOUT_FAILED = "payout.failed"
    PAYOUT_CANCELLED = "payout.cancelled"
    PAYOUT_RETURNED = "payout.returned"
    BATCH_RELEASED = "batch.released"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    DRIVER_VERIFIED = "driver.verified"
    FUNDING_SETTLED = "funding.settled"
    BALANCE_LOW = "balance.low"
    WEBHOOK_PAUSED = "webhook.paused"
    """The system paused another of the wallet's endpoints."""


class Event(NamedTuple):
    """An event to write; see `shared.schema.tables.events.CustomerEvent`."""

    wallet_id: uuid.UUID
    type: str
    payout_id: uuid.UUID | None
    sequence: int
    data: dict[str, Any]


# Inserts events and their deliveries; locks nothing.
_WRITE: Final = sa.text("""
    WITH event AS (
        SELECT * FROM json_to_recordset(CAST(:events AS json))
            AS event (id uuid, wallet_id uuid, type text, payout_id uuid, sequence int, data jsonb)
    ), delivery AS (
        INSERT INTO webhook_deliveries (endpoint_id, event_id, wallet_id, status, next_action_at)
        SELECT endpoint.id, event.id, event.wallet_id, 'pending', :now
        FROM event JOIN webhook_endpoints AS endpoint ON endpoint.wallet_id = event.wallet_id
        WHERE endpoint.deleted_at IS NULL AND endpoint.status <> 'disabled' AND event.type = ANY (endpoint.events)
    )
    INSERT INTO customer_events (id, wallet_id, type, payout_id, sequence, data, created_at, api_version)
    SELECT event.*, :now, :api_version FROM event
""")


class _Row(msgspec.Struct):
    id: uuid.UUID
    wallet_id: uuid.UUID
    type: str
    payout_id: uuid.UUID | None
    sequence: int
    data: dict[str, Any]


def write_events_query(events: Iterable[Event], now: datetime) -> Query[None]:
    """Query that writes the events and their deliveries."""
    rows = encode_rows(_Row(new_id(), *event) for event in events)
    return Query(_WRITE, {"now": now, "api_version": EVENT_API_VERSION, "events": rows}, no_result)


def write_events(connection: sa.Connection, events: Sequence[Event], now: datetime) -> None:
    """Write the events and their deliveries."""
    if events:
        run_queries(connection, write_events_query(events, now))
