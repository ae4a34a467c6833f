"""Reads events, endpoints and deliveries."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.events.rows import DeliveryRow, EndpointRow
from shared.platform.errors import NotFound
from shared.platform.ids import first_id_at
from shared.platform.pagination import Page, PageRequest
from shared.schema.events import DeliveryStatus

CLOCK_SKEW_MAX: Final = timedelta(seconds=0.5)
"""How far the clock that generates ids may be ahead of the database's."""

DELIVERIES_COUNTED_MAX: Final = 10_000
"""A larger total is reported as this number."""


class EventSlice(NamedTuple):
    events: Sequence[Any]
    """Rows of `customer_events`, the oldest first."""
    after: uuid.UUID
    """Pass it as `after` to continue."""


# Reads the start of the oldest transaction that is writing, or the current time.
_OLDEST_WRITER: Final = sa.text("""
    SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
""")


def load_events(
    connection: sa.Connection, wallet_id: uuid.UUID, after: uuid.UUID | None, types: Sequence[str] | None, *, limit: int
) -> EventSlice:
    """At most `limit` events after an id, or the newest ones.

    Leaves out events newer than the oldest open transaction, as ids are generated before commit: a reader that saw a
    newer event would skip an older one that commits later.
    """
    settled = connection.scalar(_OLDEST_WRITER)
    assert isinstance(settled, datetime)
    end = first_id_at(settled - CLOCK_SKEW_MAX)
    conditions = "wallet_id = :wallet_id AND id < :end" + (" AND type = ANY (:types)" if types is not None else "")
    values = {"wallet_id": wallet_id, "end": end, "after": after, "types": types and list(types), "limit": limit}
    if after is None:
        newest = f"SELECT * FROM customer_events WHERE {conditions} ORDER BY id DESC LIMIT :limit"
        rows = connection.execute(sa.text(newest), values).all()[::-1]
        return EventSlice(rows, rows[-1].id if rows else end)
    following = f"SELECT * FROM customer_events WHERE {conditions} AND id > :after ORDER BY id LIMIT :limit"
    rows = list(connection.execute(sa.text(following), values))
    if len(rows) == limit:
        return EventSlice(rows, rows[-1].id)
    return EventSlice(rows, max(end, after))


ENDPOINT_COLUMNS: Final = ", ".join(EndpointRow._fields)
"""The columns of an `EndpointRow`, in its order."""

# Reads a wallet's endpoints.
_LOAD_ENDPOINTS: Final = sa.text(f"""
    SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints
    WHERE wallet_id = :wallet_id AND deleted_at IS NULL ORDER BY id DESC
""")


def load_endpoints(connection: sa.Connection, wallet_id: uuid.UUID) -> list[EndpointRow]:
    """The wallet's endpoints, newest first."""
    return [EndpointRow._make(row) for row in connection.execute(_LOAD_ENDPOINTS, {"wallet_id": wallet_id})]


# Reads one of a wallet's endpoints; locks it with FOR NO KEY UPDATE appended.
_LOAD_ENDPOINT: Final = (
    f"SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL"
)


def load_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint_id: uuid.UUID | None, *, lock: bool = False
) -> EndpointRow:
    """One of the wallet's endpoints; `lock` locks its row.

    Raises:
        NotFound: the wallet has no such endpoint.

    """
    row = connection.execute(
        sa.text(_LOAD_ENDPOINT + (" FOR NO KEY UPDATE" if lock else "")), {"id": endpoint_id, "wallet_id": wallet_id}
    ).one_or_none()
    if row is None:
        raise NotFound("Webhook not found", code="WEBHOOK_NOT_FOUND")
    return EndpointRow._make(row)


def load_deliveries(
    connection: sa.Connection, endpoint: EndpointRow, wanted: PageRequest, status: DeliveryStatus | None
) -> Page[DeliveryRow]:
    """A page of the endpoint's deliveries, those of the newest events first."""
    where = "endpoint_id = :id" + (" AND status = :status" if status is not None else "")
    after = " AND event_id < :after" if wanted.after is not None else ""
    values = {
        "id": endpoint.id,
        "status": status and status.value,
        "after": wanted.after,
        "limit": wanted.size + 1,
        "skipped": wanted.skipped,
        "counted_max": DELIVERIES_COUNTED_MAX,
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
    count = f"SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE {where} LIMIT :counted_max) AS counted"
    total = connection.scalar(sa.text(count), values)
    return Page(rows[: wanted.size], total or 0, len(rows) > wanted.size)


# Counts the due deliveries of active endpoints, and the age of the oldest of an endpoint that does not fail.
_BACKLOG: Final = sa.text("""
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(delivery.next_action_at)
                              FILTER (WHERE pace <> 'failing')), 0)
    FROM webhook_endpoints JOIN webhook_deliveries AS delivery ON endpoint_id = webhook_endpoints.id
    WHERE webhook_endpoints.status = 'active' AND delivery.next_action_at <= statement_timestamp()
""")


def delivery_backlog(connection: sa.Connection) -> tuple[int, float]:
    """The number of due deliveries, and the age in seconds of the oldest whose endpoint does not fail."""
    row = connection.execute(_BACKLOG).one()
    return int(row[0]), float(row[1])
