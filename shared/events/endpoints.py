"""Endpoints: where a customer wants to hear of his events. Made, read, changed, deleted; their secrets rotated.

A secret leaves here twice: when it is made, and, sealed, to whoever signs with it.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.events import signing
from shared.platform.clock import format_rfc3339
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import WEBHOOK, new_id, public_id
from shared.schema.events import EndpointStatus, Pace, PausedReason

WALLET_ENDPOINTS_MAX: Final = 20
"""Endpoints that a wallet can have."""


class EndpointRow(NamedTuple):
    """An endpoint as it is read; see `shared.schema.tables.webhooks.WebhookEndpoint`."""

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
    """An endpoint with its new secret."""

    row: EndpointRow
    secret: str


_COLUMNS: Final = ", ".join(EndpointRow._fields)


def create_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, url: str, events: Sequence[str], pepper: str, now: datetime
) -> IssuedEndpoint:
    """Makes an endpoint. Its URL was checked before.

    Raises:
        Conflict: the wallet has as many as it can have.

    """
    # Two requests at once must not both find room for the last one.
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"webhooks {wallet_id}"}
    )
    if len(load_endpoints(connection, wallet_id)) >= WALLET_ENDPOINTS_MAX:
        raise Conflict(
            f"There can be {WALLET_ENDPOINTS_MAX} webhooks; delete one first",
            code="TOO_MANY_WEBHOOKS",
            most=WALLET_ENDPOINTS_MAX,
        )
    secret = signing.generate_secret()
    row = connection.execute(
        sa.text(f"""
            INSERT INTO webhook_endpoints (id, wallet_id, url, events, sealed_secret, status, pace, next_action_at,
                                           created_at, updated_at)
            VALUES (:id, :wallet_id, :url, :events, :sealed, 'active', :pace, :now, :now, :now) RETURNING {_COLUMNS}
        """),
        {
            "id": new_id(),
            "wallet_id": wallet_id,
            "url": url,
            "events": sorted(set(events)),
            "sealed": signing.seal_secret(secret, pepper),
            "pace": Pace.SLOW.value,
            "now": now,
        },
    ).one()
    return IssuedEndpoint(EndpointRow._make(row), secret)


def load_endpoints(connection: sa.Connection, wallet_id: uuid.UUID) -> list[EndpointRow]:
    """The wallet's endpoints, newest first."""
    rows = connection.execute(
        sa.text(f"""
            SELECT {_COLUMNS} FROM webhook_endpoints
            WHERE wallet_id = :wallet_id AND deleted_at IS NULL ORDER BY id DESC
        """),
        {"wallet_id": wallet_id},
    )
    return [EndpointRow._make(row) for row in rows]


def load_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint_id: uuid.UUID | None, *, lock: bool = False
) -> EndpointRow:
    """One of the wallet's endpoints, locked for a change if asked for.

    Raises:
        NotFound: it has none by that id.

    """
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM webhook_endpoints"
            " WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL" + (" FOR NO KEY UPDATE" if lock else "")
        ),
        {"id": endpoint_id, "wallet_id": wallet_id},
    ).one_or_none()
    if row is None:
        raise NotFound("Webhook not found", code="WEBHOOK_NOT_FOUND")
    return EndpointRow._make(row)


def update_endpoint(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    endpoint_id: uuid.UUID | None,
    now: datetime,
    *,
    url: str | None,
    events: Sequence[str] | None,
    status: EndpointStatus | None,
) -> tuple[EndpointRow, EndpointRow]:
    """Changes what is given; returns the endpoint as it was and as it is. One that becomes active is called at once
    for all that waits for it, as if it had never failed.
    """
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    resumes = status is EndpointStatus.ACTIVE and before.status != status
    row = connection.execute(
        sa.text(f"""
            UPDATE webhook_endpoints SET url = coalesce(:url, url), events = coalesce(CAST(:events AS text[]), events),
                status = coalesce(:status, status), updated_at = :now,
                paused_reason = CASE WHEN CAST(:status AS text) IS NULL THEN paused_reason
                    WHEN :status <> 'paused' THEN NULL ELSE coalesce(paused_reason, :customer) END,
                failing_since = CASE WHEN :afresh THEN NULL ELSE failing_since END,
                failures_in_a_row = CASE WHEN :afresh THEN 0 ELSE failures_in_a_row END,
                not_before = CASE WHEN :afresh THEN NULL ELSE not_before END,
                pace = CASE WHEN :afresh THEN :slow ELSE pace END
            WHERE id = :id RETURNING {_COLUMNS}
        """),
        {
            "id": before.id,
            "url": url,
            "events": None if events is None else sorted(set(events)),
            "status": None if status is None else status.value,
            "customer": PausedReason.CUSTOMER.value,
            "afresh": resumes or (url is not None and url != before.url),
            "slow": Pace.SLOW.value,
            "now": now,
        },
    ).one()
    if resumes:
        connection.execute(
            sa.text("""
                UPDATE webhook_deliveries SET next_action_at = :now
                WHERE endpoint_id = :id AND next_action_at > :now AND lease_token IS NULL
            """),
            {"id": before.id, "now": now},
        )
    return before, EndpointRow._make(row)


def rotate_endpoint_secret(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    endpoint_id: uuid.UUID | None,
    pepper: str,
    now: datetime,
    *,
    grace: timedelta,
) -> IssuedEndpoint:
    """Gives an endpoint another secret; the one it had signs as well for as long as `grace`."""
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    secret = signing.generate_secret()
    row = connection.execute(
        sa.text(f"""
            UPDATE webhook_endpoints SET sealed_secret = :sealed, updated_at = :now,
                sealed_previous_secret = CASE WHEN :until > :now THEN sealed_secret END,
                previous_secret_valid_until = CASE WHEN :until > :now THEN CAST(:until AS timestamptz) END
            WHERE id = :id RETURNING {_COLUMNS}
        """),
        {"id": before.id, "sealed": signing.seal_secret(secret, pepper), "now": now, "until": now + grace},
    ).one()
    return IssuedEndpoint(EndpointRow._make(row), secret)


def delete_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint_id: uuid.UUID | None, now: datetime
) -> EndpointRow:
    """Deletes an endpoint: from now on nobody calls it, or sees it."""
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    connection.execute(
        sa.text("""
            UPDATE webhook_endpoints SET status = 'disabled', deleted_at = :now, next_action_at = NULL,
                sealed_previous_secret = NULL, previous_secret_valid_until = NULL WHERE id = :id
        """),
        {"id": before.id, "now": now},
    )
    return before


def mask_url_query(url: str) -> str:
    """A URL as logs may have it: there may be a token in its query."""
    head, mark, _ = url.partition("?")
    return f"{head}?***" if mark else head


def endpoint_payload(row: EndpointRow, now: datetime) -> dict[str, Any]:
    """The endpoint in the API's shape, without its secret."""
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
