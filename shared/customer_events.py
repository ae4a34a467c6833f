"""Customer events: what happened, as the customer is told; written in the transaction that made it true."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.ids import new_id


class Event(NamedTuple):
    """An event to tell; see `shared.models.events.CustomerEvent`."""

    wallet_id: uuid.UUID
    type: str
    payout_id: uuid.UUID
    sequence: int
    data: dict[str, Any]


def write(connection: sa.Connection, events: Sequence[Event], now: datetime) -> None:
    """Writes the events down."""
    if not events:
        return
    connection.execute(
        sa.text("""
            INSERT INTO customer_events (id, wallet_id, type, payout_id, sequence, data, created_at)
            SELECT event.*, :now FROM unnest(CAST(:ids AS uuid[]), CAST(:wallets AS uuid[]), CAST(:types AS text[]),
                CAST(:payouts AS uuid[]), CAST(:sequences AS int[]), CAST(:data AS jsonb[])) AS event
        """),
        {
            "now": now,
            "ids": [new_id() for _ in events],
            "wallets": [event.wallet_id for event in events],
            "types": [event.type for event in events],
            "payouts": [event.payout_id for event in events],
            "sequences": [event.sequence for event in events],
            "data": [json.dumps(event.data, separators=(",", ":")) for event in events],
        },
    )
