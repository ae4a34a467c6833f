"""Attempts: which deliveries are tried now, and what is sent.

Whoever claims locks the endpoint, so that two processes don't exceed its limit together. A delivery is held by a lease;
should the worker die between its call and the record of it, the event is delivered again, under the same id.
"""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.events import signing
from shared.events.pace_limits import PACE_LIMITS
from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.encryption import Pepper
from shared.platform.ids import EVENT, public_id
from shared.schema.events import Pace


class DeliveryAttempt(NamedTuple):
    """A delivery that this worker holds and is about to try."""

    endpoint_id: uuid.UUID
    event_id: uuid.UUID
    token: uuid.UUID
    attempts: int
    """This one included."""
    url: str
    sealed_secrets: tuple[bytes, ...]
    pace: Pace
    """The lane in which it is called."""
    body: bytes
    event_at: datetime
    """When the event was written."""

    @property
    def key(self) -> tuple[uuid.UUID, uuid.UUID]:
        """The delivery."""
        return self.endpoint_id, self.event_id

    @property
    def lease_key(self) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
        """The delivery, and the hold on it."""
        return self.endpoint_id, self.event_id, self.token

    def signed(self, pepper: Pepper, at_seconds: int) -> dict[str, str]:
        """The headers that sign it at a time."""
        secrets = [signing.unseal_secret(sealed, pepper) for sealed in self.sealed_secrets]
        return signing.signature_headers(secrets, public_id(EVENT, self.event_id), self.body, at_seconds)


def event_body(event: Any) -> bytes:
    """An event as it is sent: the same bytes each time, for nothing in it comes from now. `event` is its row."""
    return msgspec.json.encode(event_payload(event))


def event_payload(event: Any) -> dict[str, Any]:
    """An event in the API's shape."""
    return {
        "id": public_id(EVENT, event.id),
        "type": event.type,
        "apiVersion": event.api_version,
        "createdAt": format_rfc3339(event.created_at),
        "sequence": event.sequence,
        "data": event.data,
    }


_CLAIM: Final = sa.text("""
    WITH endpoint AS (
        SELECT * FROM webhook_endpoints
        WHERE id = ANY (:ids) AND status = 'active' AND deleted_at IS NULL
              AND (not_before IS NULL OR not_before <= :now)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ), lane AS (
        SELECT * FROM json_to_recordset(CAST(:lanes AS json)) AS lane (pace text, an_endpoint int, free int)
    ), waiting AS (
        -- In turn: the first of each endpoint, then the second of each, as far as the lane has room.
        SELECT endpoint.id AS endpoint_id, due.event_id, lane.free,
               row_number() OVER (PARTITION BY lane.pace ORDER BY due.place, due.next_action_at) AS turn
        FROM endpoint JOIN lane ON lane.pace = endpoint.pace CROSS JOIN LATERAL (
            SELECT event_id, next_action_at, row_number() OVER (ORDER BY next_action_at) AS place
            FROM webhook_deliveries AS delivery
            WHERE delivery.endpoint_id = endpoint.id AND next_action_at <= :now
                  AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
            ORDER BY next_action_at
            LIMIT greatest(0, lane.an_endpoint - (
                SELECT count(*) FROM webhook_deliveries AS held
                WHERE held.endpoint_id = endpoint.id AND lease_token IS NOT NULL
                      AND lease_expires_at >= clock_timestamp()))
        ) AS due
    ), taken AS (
        UPDATE webhook_deliveries AS delivery SET lease_token = :token, attempts = attempts + 1,
            lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
            next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds)
        FROM waiting WHERE turn <= free AND delivery.endpoint_id = waiting.endpoint_id
              AND delivery.event_id = waiting.event_id AND delivery.status = 'pending'
        RETURNING delivery.endpoint_id, delivery.event_id, attempts
    )
    SELECT taken.endpoint_id, taken.attempts, url, sealed_secret, pace,
           CASE WHEN previous_secret_valid_until > :now THEN sealed_previous_secret END AS sealed_previous, event.*
    FROM taken JOIN endpoint ON endpoint.id = taken.endpoint_id
    JOIN customer_events AS event ON event.id = taken.event_id
    ORDER BY event.id
""")


def claim_deliveries(
    connection: sa.Connection,
    endpoint_ids: Collection[uuid.UUID],
    now: datetime,
    *,
    free: Mapping[Pace, int],
    lease_seconds: float,
) -> list[DeliveryAttempt]:
    """Takes what is due for these endpoints and held by nobody, as far as they, and the lanes, have room."""
    if not endpoint_ids or not any(free.values()):
        return []
    token = uuid.uuid4()
    lanes = [{"pace": pace, "an_endpoint": lane.an_endpoint, "free": free[pace]} for pace, lane in PACE_LIMITS.items()]
    rows = connection.execute(
        _CLAIM,
        {
            "ids": list(endpoint_ids),
            "lanes": encode_rows(lanes),
            "now": now,
            "token": token,
            "lease_seconds": lease_seconds,
        },
    )
    return [
        DeliveryAttempt(
            row.endpoint_id,
            row.id,
            token,
            row.attempts,
            row.url,
            tuple(sealed for sealed in (row.sealed_secret, row.sealed_previous) if sealed is not None),
            Pace(row.pace),
            event_body(row),
            row.created_at,
        )
        for row in rows
    ]


def release_leases(connection: sa.Connection, attempts: Collection[DeliveryAttempt], now: datetime) -> int:
    """Gives up what is still held, without a word on how it went: it is due now, and counts as not tried. Returns how
    many deliveries that were; the customer may get an event twice whose call was cut.
    """
    held = [{"endpoint_id": one.endpoint_id, "event_id": one.event_id, "token": one.token} for one in attempts]
    given_up = connection.execute(
        sa.text("""
            WITH held AS MATERIALIZED (
                SELECT * FROM json_to_recordset(CAST(:held AS json))
                              AS held (endpoint_id uuid, event_id uuid, token uuid)
            ), locked AS (
                SELECT delivery.endpoint_id, delivery.event_id FROM webhook_deliveries AS delivery
                JOIN held ON held.endpoint_id = delivery.endpoint_id AND held.event_id = delivery.event_id
                WHERE lease_token = token ORDER BY 1, 2 FOR NO KEY UPDATE OF delivery
            )
            UPDATE webhook_deliveries AS delivery
            SET lease_token = NULL, lease_expires_at = NULL, attempts = attempts - 1, next_action_at = :now
            FROM locked
            WHERE delivery.endpoint_id = locked.endpoint_id AND delivery.event_id = locked.event_id
        """),
        {"held": encode_rows(held), "now": now},
    )
    return given_up.rowcount


HAS_DUE_DELIVERY: Final = """
    status = 'active' AND (not_before IS NULL OR not_before <= clock_timestamp()) AND (
        SELECT min(webhook_deliveries.next_action_at) FROM webhook_deliveries
        WHERE endpoint_id = webhook_endpoints.id AND webhook_deliveries.next_action_at IS NOT NULL
    ) <= clock_timestamp()
"""
"""The endpoints to ring for: something is due for them that nobody holds. The first of each is one look at an index;
an EXISTS was made a join with all that waits, which took half a minute beside 100,000 deliveries."""


def delivery_backlog(connection: sa.Connection) -> tuple[int, float]:
    """How many deliveries are due, and how long the oldest of an endpoint that does not fail has been, in seconds."""
    row = connection.execute(
        sa.text("""
            SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(delivery.next_action_at)
                                      FILTER (WHERE pace <> 'failing')), 0)
            FROM webhook_endpoints JOIN webhook_deliveries AS delivery ON endpoint_id = webhook_endpoints.id
            WHERE webhook_endpoints.status = 'active' AND delivery.next_action_at <= statement_timestamp()
        """)
    ).one()
    return int(row[0]), float(row[1])
