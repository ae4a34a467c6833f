"""Drivers."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.organizations import DriverStatus, KycStatus
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Driver(Leased, Base):
    """A driver of one wallet, and the write-ahead record of the recipient at the provider: its id is the request's
    idempotency key.
    """

    __tablename__ = "drivers"
    __table_args__ = (
        enum_check("status", DriverStatus),
        enum_check("kyc_status", KycStatus),
        sa.Index(
            "uq_drivers_wallet_id_ovn_driver_id",
            "wallet_id",
            "ovn_driver_id",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
        ),
        sa.Index("ix_drivers_wallet_id_id", "wallet_id", sa.text("id DESC")),
        sa.Index("ix_drivers_wallet_id_ovn_driver_id", "wallet_id", "ovn_driver_id"),
        sa.Index(
            "ix_drivers_wallet_id_status_id",
            "wallet_id",
            "status",
            sa.text("id DESC"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        ),
        due_index("drivers"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"))
    """The same person at another carrier, or in the sandbox, is another row."""
    ovn_driver_id: Mapped[str]
    """The customer's id of the driver; unique among the wallet's drivers that are not deleted."""
    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str | None]
    """E.164."""
    status: Mapped[str]
    """One of `DriverStatus`."""
    kyc_status: Mapped[str]
    """One of `KycStatus`."""
    recipient_id: Mapped[str | None] = mapped_column(unique=True)
    """The provider's id (`rec_…`), from its response to the registration."""
    last_error: Mapped[str | None]
    """The provider's last message when it refused the registration."""
    bank_account_last4: Mapped[str | None]
    """Last four digits of the account number that the provider accepted last; only the provider has the rest."""
    sealed_details: Mapped[bytes | None]
    """Bank details and identity, encrypted, until the provider has them; then null."""
    payout_count: Mapped[int] = mapped_column(server_default="0")
    """The driver's payouts; maintained by `shared.payouts.counters`, as are the next two."""
    pending_payouts: Mapped[int] = mapped_column(server_default="0")
    """Payouts that have not ended."""
    total_paid_cents: Mapped[int] = mapped_column(server_default="0")
    """Net amounts of the completed payouts."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    """When a user or the provider last changed the row."""
    deleted_at: Mapped[datetime | None]
    """When the customer deleted the driver; the row stays for its payouts."""
