"""The ledger, top-ups, list counts and the price list."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.ledger import AccountKind, TopupStatus, TransferKind
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Account(Base):
    """One account of one wallet; its balance is the sum of its transfers."""

    __tablename__ = "accounts"
    __table_args__ = (
        enum_check("kind", AccountKind),
        sa.CheckConstraint("balance_cents >= 0 OR kind = 'external'", name="balance_not_negative"),
        {"postgresql_with": {"fillfactor": "20"}},
    )

    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """One of `AccountKind`."""
    balance_cents: Mapped[int] = mapped_column(server_default="0")
    """Written by `shared.ledger` alone."""


class ListCount(Base):
    """Row count of one of a wallet's lists, written under the wallet's lock with the rows."""

    __tablename__ = "list_counts"
    __table_args__ = ({"postgresql_with": {"fillfactor": "20"}},)

    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """One of `shared.ledger.list_counts.COUNT_NAMES`."""
    count: Mapped[int] = mapped_column(server_default="0")


class Transfer(Base):
    """A positive amount moved from one account to another. Append-only: a trigger refuses changes."""

    __tablename__ = "transfers"
    __table_args__ = (
        sa.CheckConstraint("amount_cents > 0 AND from_account <> to_account", name="amount"),
        enum_check("kind", TransferKind),
        sa.Index("ix_transfers_wallet_id_position", "wallet_id", sa.text("position DESC")),
        sa.Index(
            "ix_transfers_rare_kinds",
            "wallet_id",
            "kind",
            sa.text("position DESC"),
            postgresql_where=sa.text("kind IN ('topup_settle', 'release', 'return')"),
        ),
        sa.Index(
            "ix_transfers_statement",
            "wallet_id",
            "created_at",
            postgresql_include=["position", "kind"],
            postgresql_where=sa.text("kind IN ('topup_settle', 'reserve', 'release', 'return')"),
        ),
        sa.Index(
            "uq_transfers_payout_id_attempt_kind",
            "payout_id",
            "attempt",
            "kind",
            unique=True,
            postgresql_where=sa.text("payout_id IS NOT NULL"),
        ),
        sa.Index(
            "uq_transfers_topup_id_kind",
            "topup_id",
            "kind",
            unique=True,
            postgresql_where=sa.text("topup_id IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID]
    position: Mapped[int] = mapped_column(sa.Identity(always=True))
    """Orders a wallet's transfers: assigned under the wallet's lock, unlike ids, made on several machines."""
    from_account: Mapped[str]
    to_account: Mapped[str]
    """Both one of `AccountKind`."""
    amount_cents: Mapped[int]
    kind: Mapped[str]
    """One of `TransferKind`; a unique index allows each once per payout attempt: no bug can settle twice."""
    payout_id: Mapped[uuid.UUID | None]
    attempt: Mapped[int | None] = mapped_column(sa.Integer)
    """The payout's attempt at that time."""
    topup_id: Mapped[uuid.UUID | None]
    available_after_cents: Mapped[int]
    """The wallet's available balance after this transfer, for the statement."""
    created_at: Mapped[datetime]


class Topup(Leased, Base):
    """Money being added to a wallet, and the write-ahead record of the request: its id is the idempotency key."""

    __tablename__ = "topups"
    __table_args__ = (
        enum_check("status", TopupStatus),
        sa.CheckConstraint("amount_cents > 0", name="amount"),
        sa.Index("ix_topups_wallet_id_id", "wallet_id", sa.text("id DESC")),
        due_index("topups"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"))
    amount_cents: Mapped[int]
    method: Mapped[str]
    """`bank_transfer` (days) or `rtp` (seconds); `sandbox_grant` for the test money a sandbox starts with."""
    description: Mapped[str]
    """Given by the customer."""
    status: Mapped[str]
    """One of `TopupStatus`; set from the provider's answers and events only."""
    provider_id: Mapped[str | None]
    """The provider's id (`top_…`)."""
    first_sent_at: Mapped[datetime | None]
    """Written before the first request: the idempotency key's lifetime starts here."""
    last_error: Mapped[str | None]
    """The provider's last message when it refused the request."""
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    """When the money became available."""


class Price(Base):
    """A row of the price list; operators change prices by adding rows."""

    __tablename__ = "prices"
    __table_args__ = (sa.CheckConstraint("flat_cents >= 0 AND basis_points >= 0 AND cap_cents >= 0", name="positive"),)

    rail: Mapped[str] = mapped_column(primary_key=True)
    in_batch: Mapped[bool] = mapped_column(primary_key=True)
    """Whether it applies to payouts in a batch."""
    from_amount_cents: Mapped[int] = mapped_column(primary_key=True)
    """Applies from this amount up to the next row of the same rail."""
    flat_cents: Mapped[int]
    """Fixed part of the fee."""
    basis_points: Mapped[int]
    """Proportional part, in hundredths of a percent of the amount, rounded half up."""
    cap_cents: Mapped[int | None]
    """Maximum fee; null: none."""
