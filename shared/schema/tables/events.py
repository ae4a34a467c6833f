"""Provider events, customer events and idempotency keys."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.events import ProviderEventStatus
from shared.schema.tables.base import Base, Due, due_index, enum_check


class ProviderEvent(Due, Base):
    """A webhook from the provider with a valid signature."""

    __tablename__ = "provider_events"
    __table_args__ = (
        enum_check("status", ProviderEventStatus),
        due_index("provider_events"),
        sa.Index("ix_provider_events_payment_id", "payment_id"),
        sa.Index("ix_provider_events_payout_id", "payout_id"),
        sa.Index(
            "ix_provider_events_wallet_id_id",
            "wallet_id",
            sa.text("id DESC"),
            postgresql_where=sa.text("wallet_id IS NOT NULL"),
        ),
        sa.Index(
            "ix_provider_events_wallet_id_type_id",
            "wallet_id",
            "type",
            sa.text("id DESC"),
            postgresql_where=sa.text("wallet_id IS NOT NULL"),
        ),
        sa.Index(
            "ix_provider_events_wallet_id_id_wrong",
            "wallet_id",
            sa.text("id DESC"),
            postgresql_where=sa.text("status IN ('orphan', 'mismatch') AND wallet_id IS NOT NULL"),
        ),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    event_key: Mapped[str] = mapped_column(unique=True)
    """The provider's event id, or `sha256:` of the body where it has none: unique, a repeat is stored once."""
    body_sha256: Mapped[bytes]
    """Of the raw body: the same id with another body is a contradiction, not a repeat."""
    type: Mapped[str]
    """As in `payment.completed`."""
    wallet_id: Mapped[uuid.UUID | None]
    """The payout's wallet once it is known: whose webhook log shows the event."""
    payment_id: Mapped[str | None]
    """The provider's payment id, in the provider's own format."""
    payout_id: Mapped[uuid.UUID | None]
    """Our payout: from a body in our format, or found by the payment id when the event was applied."""
    amount_cents: Mapped[int | None]
    currency: Mapped[str | None]
    """As in `usd`."""
    recipient_id: Mapped[str | None]
    """The driver's id at the provider."""
    driver_id: Mapped[uuid.UUID | None]
    """Our id of the driver; all zeros if the body has one that is not in our format."""
    failure_code: Mapped[str | None]
    failure_reason: Mapped[str | None]
    """Why the payment failed or was returned."""
    body: Mapped[bytes]
    """The raw body."""
    contradicts: Mapped[uuid.UUID | None]
    """The earlier event with the same provider id and another body; this row's `event_key` then has its hash."""
    status: Mapped[str]
    """One of `ProviderEventStatus`."""
    outcome: Mapped[str | None]
    """What applying it did, in a few words."""
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]
    """When it reached its final status."""


class CustomerEvent(Base):
    """A snapshot for the customer, written in the transaction that changed the data."""

    __tablename__ = "customer_events"
    __table_args__ = (
        sa.Index("ix_customer_events_wallet_id_id", "wallet_id", sa.text("id DESC")),
        sa.Index("ix_customer_events_payout_id", "payout_id", postgresql_where=sa.text("payout_id IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID]
    type: Mapped[str]
    """As in `payout.succeeded`."""
    payout_id: Mapped[uuid.UUID | None]
    """Null if the event is not about a payout."""
    sequence: Mapped[int] = mapped_column(sa.Integer)
    """The payout's transition: orders the events of one payout. 0 for other events."""
    data: Mapped[dict[str, object]]
    """The payout, batch or other object as the API showed it at that time."""
    api_version: Mapped[str] = mapped_column(server_default="2026-02-01")
    """The API version that defines the shape of `data`."""
    created_at: Mapped[datetime]


class IdempotencyKey(Base):
    """The response to a POST, stored in the transaction of the request."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (sa.Index("ix_idempotency_keys_expires_at", "expires_at"),)

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """The API key's wallet; for endpoints of signed-in users, the user's id."""
    key: Mapped[str] = mapped_column(primary_key=True)
    """The customer's `Idempotency-Key`."""
    fingerprint: Mapped[bytes]
    """SHA-256 of method, path and body: reusing the key for another request is refused."""
    http_status: Mapped[int] = mapped_column(sa.Integer)
    answer: Mapped[bytes]
    """The response body, replayed on a repeat."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """48 hours after creation; the key can be reused then."""
