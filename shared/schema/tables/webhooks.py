"""Where customers want to hear of their events, and how far each event has come on its way there."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.tables.base import Base, Due, Leased, due_index, enum_check
from shared.schema.webhooks import DeliveryStatus, EndpointStatus, Pace, PausedReason


class WebhookEndpoint(Due, Base):
    """A URL that a customer wants to be called at. `next_action_at` is when it may be rung for again; `attempts` is not
    used, for each delivery has its own.
    """

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
    """Whose events it gets."""
    url: Mapped[str]
    """Where it is called."""
    events: Mapped[list[str]]
    """The types of events that it gets."""
    sealed_secret: Mapped[bytes]
    """What its calls are signed with, sealed under the pepper."""
    sealed_previous_secret: Mapped[bytes | None]
    """The secret before that, which signs as well for a while."""
    previous_secret_valid_until: Mapped[datetime | None]
    """Until when it does."""
    status: Mapped[str]
    """One of `EndpointStatus`."""
    paused_reason: Mapped[str | None]
    """One of `PausedReason`, where it is paused."""
    pace: Mapped[str]
    """One of `Pace`."""
    failing_since: Mapped[datetime | None]
    """The first failure after its last success."""
    failures_in_a_row: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How many calls have failed since then."""
    not_before: Mapped[datetime | None]
    """It is left alone until then: it has asked for it by `Retry-After`, or has failed several times in a row."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    """When its owner has changed it last."""
    deleted_at: Mapped[datetime | None]
    """When its owner deleted it; nobody sees it from then on."""


class WebhookDelivery(Leased, Base):
    """An event on its way to an endpoint, written in the event's transaction."""

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
    """Of the customer event: each goes to an endpoint once, however often that is tried."""
    wallet_id: Mapped[uuid.UUID]
    status: Mapped[str]
    """One of `DeliveryStatus`."""
    http_status: Mapped[int | None] = mapped_column(sa.Integer)
    """Of the last attempt's answer, if one came."""
    error: Mapped[str | None]
    """Why the last attempt failed, in our words: nothing of the answer is kept."""
    duration_ms: Mapped[int | None] = mapped_column(sa.Integer)
    """How long the last attempt took."""
    attempted_at: Mapped[datetime | None]
    """When the last attempt ended."""
    delivered_at: Mapped[datetime | None]
    """When an attempt first succeeded."""
