"""Batches: payouts that are released together, at a time or by hand."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.batches import BatchStatus
from shared.schema.payouts import Rail
from shared.schema.tables.base import Base, Due, due_index, enum_check


class Batch(Due, Base):
    """Payouts that a customer hands in together. Its counters are kept by `shared.payouts.counters`."""

    __tablename__ = "batches"
    __table_args__ = (
        enum_check("status", BatchStatus),
        enum_check("rail", Rail),
        sa.Index("ix_batches_wallet_id_id", "wallet_id", sa.text("id DESC")),
        sa.Index("ix_batches_wallet_id_status_id", "wallet_id", "status", sa.text("id DESC")),
        sa.Index(
            "ix_batches_wallet_id_scheduled",
            "wallet_id",
            "status",
            sa.text("id DESC"),
            postgresql_where=sa.text("scheduled_for IS NOT NULL"),
        ),
        due_index("batches"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"))
    """Whose money it moves."""
    name: Mapped[str]
    """What the customer calls it."""
    rail: Mapped[str]
    """One of `Rail`; the rail of all its payouts."""
    status: Mapped[str]
    """One of `BatchStatus`."""
    payout_count: Mapped[int]
    """How many payouts it has."""
    amount_cents: Mapped[int]
    """What they cost the wallet together."""
    fee_cents: Mapped[int]
    """What we keep of it, by the batch price list at creation."""
    open_payouts: Mapped[int]
    """How many of them have not ended."""
    paid_payouts: Mapped[int] = mapped_column(server_default="0")
    """How many of them were paid."""
    scheduled_for: Mapped[datetime | None]
    """When it is to be released; null: by hand."""
    released_at: Mapped[datetime | None]
    """When its money was reserved and its payouts set out."""
    completed_at: Mapped[datetime | None]
    """When its last payout ended."""
    canceled_at: Mapped[datetime | None]
    """When it was called off."""
    failure_code: Mapped[str | None]
    """Why it could not be released; null again once it could."""
    failure_message: Mapped[str | None]
    """The same as a sentence."""
    created_at: Mapped[datetime]
    """When it was handed in."""
