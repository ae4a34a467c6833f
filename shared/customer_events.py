"""Customer events: what happened, as the customer is told; written in the transaction that made it true."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.db import as_rows
from shared.ids import new_id


class Event(NamedTuple):
    """An event to tell; see `shared.models.events.CustomerEvent`."""

    wallet_id: uuid.UUID
    type: str
    payout_id: uuid.UUID | None
    sequence: int
    data: dict[str, Any]


def write(connection: sa.Connection, events: Sequence[Event], now: datetime) -> None:
    """Writes the events down."""
    if not events:
        return
    connection.execute(
        sa.text("""
            INSERT INTO customer_events (id, wallet_id, type, payout_id, sequence, data, created_at)
            SELECT event.*, :now FROM json_to_recordset(CAST(:events AS json))
                AS event (id uuid, wallet_id uuid, type text, payout_id uuid, sequence int, data jsonb)
        """),
        {"now": now, "events": as_rows({"id": new_id(), **event._asdict()} for event in events)},
    )
