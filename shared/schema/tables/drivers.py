"""Drivers: who gets paid, and how far the provider has come in knowing them."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.drivers import DriverStatus, KycStatus
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Driver(Leased, Base):
    """A driver of one wallet. The row is also the write-ahead record of the provider's recipient:
    its id is the idempotency key under which the recipient is asked for.
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
    """Whose driver it is; the same person at another carrier, or in the sandbox, is another row."""
    ovn_driver_id: Mapped[str]
    """The customer's own id for the driver; unique in the wallet among drivers not deleted."""
    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str | None]
    """How to reach the driver; E.164."""
    status: Mapped[str]
    """One of `DriverStatus`."""
    kyc_status: Mapped[str]
    """One of `KycStatus`."""
    recipient_id: Mapped[str | None] = mapped_column(unique=True)
    """The provider's id (`rec_…`); set when the provider has answered the registration."""
    last_error: Mapped[str | None]
    """What the provider said last when it did not take the registration."""
    bank_account_last4: Mapped[str | None]
    """The end of the account number that the provider took last; the rest is the provider's alone."""
    sealed_details: Mapped[bytes | None]
    """Bank details and identity on their way to the provider, encrypted; null again once they are there."""
    payout_count: Mapped[int] = mapped_column(server_default="0")
    """How many payouts name this driver; kept by `shared.payouts.counters`, as are the next two."""
    pending_payouts: Mapped[int] = mapped_column(server_default="0")
    """How many of them have not ended."""
    total_paid_cents: Mapped[int] = mapped_column(server_default="0")
    """The net amounts of the completed ones: what the driver has received."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    """When a person or the provider last changed the row."""
    deleted_at: Mapped[datetime | None]
    """When the customer deleted the driver; the row stays for the payouts that name it."""
