"""Batches."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.payouts import BatchStatus, Rail
from shared.schema.tables.base import Base, Due, due_index, enum_check


class Batch(Due, Base):
    """Payouts that are released together, at a scheduled time or by request."""

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
    """Chosen by the customer."""
    rail: Mapped[str]
    """One of `Rail`; the rail of all its payouts."""
    status: Mapped[str]
    """One of `BatchStatus`."""
    payout_count: Mapped[int]
    amount_cents: Mapped[int]
    """Sum of the payouts' amounts, fees included."""
    fee_cents: Mapped[int]
    """Our part of it, by the batch price list at creation."""
    open_payouts: Mapped[int]
    """Payouts that have not ended."""
    paid_payouts: Mapped[int] = mapped_column(server_default="0")
    scheduled_for: Mapped[datetime | None]
    """When the scheduler releases it; null: only by request."""
    released_at: Mapped[datetime | None]
    """When its money was reserved and its payouts started."""
    completed_at: Mapped[datetime | None]
    """When its last payout ended."""
    canceled_at: Mapped[datetime | None]
    failure_code: Mapped[str | None]
    """Why its release failed; null again after a successful one."""
    failure_message: Mapped[str | None]
    """The same as a sentence."""
    created_at: Mapped[datetime]
