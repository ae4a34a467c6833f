"""Webhook endpoints and deliveries."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.events import DeliveryStatus, EndpointStatus, Pace, PausedReason
from shared.schema.tables.base import Base, Due, Leased, due_index, enum_check


class WebhookEndpoint(Due, Base):
    """A URL that receives a customer's events. `attempts` is unused, as each delivery has its own."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        enum_check("status", EndpointStatus),
        enum_check("paused_reason", PausedReason),
        enum_check("pace", Pace),
        due_index("webhook_endpoints"),
        sa.Index("ix_webhook_endpoints_wallet_id", "wallet_id", postgresql_where=sa.text("deleted_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"))
    """Whose events it receives."""
    url: Mapped[str]
    events: Mapped[list[str]]
    """The event types that it receives."""
    sealed_secret: Mapped[bytes]
    """The signing secret, encrypted under the pepper."""
    sealed_previous_secret: Mapped[bytes | None]
    """The previous secret; also signs until `previous_secret_valid_until`."""
    previous_secret_valid_until: Mapped[datetime | None]
    status: Mapped[str]
    """One of `EndpointStatus`."""
    paused_reason: Mapped[str | None]
    """One of `PausedReason`; null unless paused."""
    pace: Mapped[str]
    """One of `Pace`."""
    failing_since: Mapped[datetime | None]
    """First failure after its last success."""
    failures_in_a_row: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Failed calls since then."""
    not_before: Mapped[datetime | None]
    """No calls until then: it sent `Retry-After` or failed several times in a row."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    """When its owner last changed it."""
    deleted_at: Mapped[datetime | None]
    """When its owner deleted it; the API no longer shows it."""


class WebhookDelivery(Leased, Base):
    """Delivery of an event to an endpoint, written with the event."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        enum_check("status", DeliveryStatus),
        sa.Index(
            "ix_webhook_deliveries_due",
            "endpoint_id",
            "next_action_at",
            postgresql_where=sa.text("next_action_at IS NOT NULL"),
        ),
        sa.Index("ix_webhook_deliveries_held", "endpoint_id", postgresql_where=sa.text("lease_token IS NOT NULL")),
    )

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """The customer event: one delivery per event and endpoint, with any number of attempts."""
    wallet_id: Mapped[uuid.UUID]
    status: Mapped[str]
    """One of `DeliveryStatus`."""
    http_status: Mapped[int | None] = mapped_column(sa.Integer)
    """Of the response to the last attempt, if one arrived."""
    error: Mapped[str | None]
    """Why the last attempt failed, in a sentence of ours: no part of a response is stored."""
    duration_ms: Mapped[int | None] = mapped_column(sa.Integer)
    """Of the last attempt."""
    attempted_at: Mapped[datetime | None]
    """When the last attempt ended."""
    delivered_at: Mapped[datetime | None]
    """When an attempt first succeeded."""
