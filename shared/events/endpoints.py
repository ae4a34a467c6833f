"""Creates, changes and deletes webhook endpoints. A signing secret is returned once and stored encrypted."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared.events import signing
from shared.events.queries import ENDPOINT_COLUMNS, load_endpoint, load_endpoints
from shared.events.rows import EndpointRow, IssuedEndpoint
from shared.platform.errors import Conflict
from shared.platform.ids import new_id
from shared.schema.events import EndpointStatus, Pace, PausedReason

WALLET_ENDPOINTS_MAX: Final = 20

# Serializes the creation of a wallet's endpoints: two requests must not both create the last one allowed.
_LOCK_WALLET_ENDPOINTS: Final = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
# Inserts an active endpoint.
_INSERT: Final = sa.text(f"""
    INSERT INTO webhook_endpoints (id, wallet_id, url, events, sealed_secret, status, pace, next_action_at,
                                   created_at, updated_at)
    VALUES (:id, :wallet_id, :url, :events, :sealed, 'active', :pace, :now, :now, :now) RETURNING {ENDPOINT_COLUMNS}
""")


def create_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, url: str, events: Sequence[str], pepper: str, now: datetime
) -> IssuedEndpoint:
    """Create an endpoint for a URL that passed `check_url`.

    Raises:
        Conflict: the wallet has `WALLET_ENDPOINTS_MAX` endpoints.
    """
    connection.execute(_LOCK_WALLET_ENDPOINTS, {"name": f"webhooks {wallet_id}"})
    if len(load_endpoints(connection, wallet_id)) >= WALLET_ENDPOINTS_MAX:
        raise Conflict(
            f"A wallet can have at most {WALLET_ENDPOINTS_MAX} webhooks. Delete one first.",
            code="TOO_MANY_WEBHOOKS",
            most=WALLET_ENDPOINTS_MAX,
        )
    secret = signing.generate_secret()
    row = connection.execute(
        _INSERT,
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


# Updates the given fields of an endpoint whose row is locked; `:reset` clears its failures.
_UPDATE: Final = sa.text(f"""
    UPDATE webhook_endpoints SET url = coalesce(:url, url), events = coalesce(CAST(:events AS text[]), events),
        status = coalesce(:status, status), updated_at = :now,
        paused_reason = CASE WHEN CAST(:status AS text) IS NULL THEN paused_reason
            WHEN :status <> 'paused' THEN NULL ELSE coalesce(paused_reason, :customer) END,
        failing_since = CASE WHEN :reset THEN NULL ELSE failing_since END,
        failures_in_a_row = CASE WHEN :reset THEN 0 ELSE failures_in_a_row END,
        not_before = CASE WHEN :reset THEN NULL ELSE not_before END,
        pace = CASE WHEN :reset THEN :slow ELSE pace END
    WHERE id = :id RETURNING {ENDPOINT_COLUMNS}
""")
# Makes an endpoint's waiting deliveries due.
_MAKE_DUE: Final = sa.text("""
    UPDATE webhook_deliveries SET next_action_at = :now
    WHERE endpoint_id = :id AND next_action_at > :now AND lease_token IS NULL
""")


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
    """Change the given fields; return the endpoint before and after.

    A new URL or an activation resets its failures; an activation makes all waiting deliveries due.
    """
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    resumes = status is EndpointStatus.ACTIVE and before.status != status
    row = connection.execute(
        _UPDATE,
        {
            "id": before.id,
            "url": url,
            "events": None if events is None else sorted(set(events)),
            "status": None if status is None else status.value,
            "customer": PausedReason.CUSTOMER.value,
            "reset": resumes or (url is not None and url != before.url),
            "slow": Pace.SLOW.value,
            "now": now,
        },
    ).one()
    if resumes:
        connection.execute(_MAKE_DUE, {"id": before.id, "now": now})
    return before, EndpointRow._make(row)


# Replaces the secret of an endpoint whose row is locked; keeps the old one until a time in the future, if one is given.
_ROTATE: Final = sa.text(f"""
    UPDATE webhook_endpoints SET sealed_secret = :sealed, updated_at = :now,
        sealed_previous_secret = CASE WHEN :until > :now THEN sealed_secret END,
        previous_secret_valid_until = CASE WHEN :until > :now THEN CAST(:until AS timestamptz) END
    WHERE id = :id RETURNING {ENDPOINT_COLUMNS}
""")


def rotate_endpoint_secret(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    endpoint_id: uuid.UUID | None,
    pepper: str,
    now: datetime,
    *,
    grace: timedelta,
) -> IssuedEndpoint:
    """Generate a new signing secret; for `grace`, calls are signed with the old one as well."""
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    secret = signing.generate_secret()
    sealed = signing.seal_secret(secret, pepper)
    row = connection.execute(_ROTATE, {"id": before.id, "sealed": sealed, "now": now, "until": now + grace}).one()
    return IssuedEndpoint(EndpointRow._make(row), secret)


# Marks an endpoint as deleted and removes its previous secret.
_DELETE: Final = sa.text("""
    UPDATE webhook_endpoints SET status = 'disabled', deleted_at = :now, next_action_at = NULL,
        sealed_previous_secret = NULL, previous_secret_valid_until = NULL WHERE id = :id
""")


def delete_endpoint(
    connection: sa.Connection, wallet_id: uuid.UUID, endpoint_id: uuid.UUID | None, now: datetime
) -> EndpointRow:
    """Delete an endpoint: it is neither called nor listed any more."""
    before = load_endpoint(connection, wallet_id, endpoint_id, lock=True)
    connection.execute(_DELETE, {"id": before.id, "now": now})
    return before


def mask_url_query(url: str) -> str:
    """The URL for logs, with its query masked, as customers put tokens there."""
    head, mark, _ = url.partition("?")
    return f"{head}?***" if mark else head
