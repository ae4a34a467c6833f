"""Events both ways, and remembered answers: the provider's webhooks, the customer's events, idempotency keys."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.events import ProviderEventStatus
from shared.schema.tables.base import Base, Due, due_index, enum_check


class ProviderEvent(Due, Base):
    """A verified webhook of the provider, as it came."""

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
    """The provider's event id, or `sha256:` of the body where it has none: the same event is stored once."""
    body_sha256: Mapped[bytes]
    """Of the raw body: the same id with another body is no repeat but a contradiction."""
    type: Mapped[str]
    """As in `payment.completed`."""
    wallet_id: Mapped[uuid.UUID | None]
    """Whose payment it names, as soon as we know: who sees it in the webhook log."""
    payment_id: Mapped[str | None]
    """The provider's payment that it names, in the native shape."""
    payout_id: Mapped[uuid.UUID | None]
    """Our payout: named by the body in our shape, or found by the payment when it was applied."""
    amount_cents: Mapped[int | None]
    """The amount that it names."""
    currency: Mapped[str | None]
    """The currency that it names, as in `usd`."""
    recipient_id: Mapped[str | None]
    """The driver that it names, as the provider knows him."""
    driver_id: Mapped[uuid.UUID | None]
    """The driver that it names, as we know him; all zeros where it names one by what can't be an id of ours."""
    failure_code: Mapped[str | None]
    failure_reason: Mapped[str | None]
    """Why the payment failed or came back, if it did."""
    body: Mapped[bytes]
    """The raw body."""
    contradicts: Mapped[uuid.UUID | None]
    """The event that came before it under the same id of the provider's with another body; its own key has its hash."""
    status: Mapped[str]
    """One of `ProviderEventStatus`."""
    outcome: Mapped[str | None]
    """What it did, in a few words."""
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]
    """When it reached its final status."""


class CustomerEvent(Base):
    """What happened, as the customer is told: a snapshot written in the transaction that made it true."""

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
    """The payout that it is about; null for anything else."""
    sequence: Mapped[int] = mapped_column(sa.Integer)
    """The payout's history row that it tells of: events of one payout are ordered by it. 0 for anything else."""
    data: Mapped[dict[str, object]]
    """The payout, the batch or what else it is about, as the API would have shown it at that moment."""
    api_version: Mapped[str] = mapped_column(server_default="2026-02-01")
    """The version of the API in whose shape `data` is."""
    created_at: Mapped[datetime]


class IdempotencyKey(Base):
    """The answer that a POST got under the customer's key, stored in the transaction that made it true."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (sa.Index("ix_idempotency_keys_expires_at", "expires_at"),)

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """The wallet of the API key; or the user, for the endpoints of those who are signed in."""
    key: Mapped[str] = mapped_column(primary_key=True)
    """The customer's `Idempotency-Key`."""
    fingerprint: Mapped[bytes]
    """SHA-256 of method, path and body: the same key with another request is refused."""
    http_status: Mapped[int] = mapped_column(sa.Integer)
    answer: Mapped[bytes]
    """The whole body of the answer, to be given again."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """48 hours later; from then on the key is free again."""
