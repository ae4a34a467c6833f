"""Where each cent is: accounts, transfers between them, top-ups, and the price list."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.ledger import AccountKind, TopupStatus, TransferKind
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Account(Base):
    """One account of one wallet: the sum of its transfers, kept so that nothing has to be summed."""

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
    """How many rows a wallet's list has, kept so that no list has to count millions of them.

    Written under the wallet's lock, in the transaction that adds the rows or moves them from one list to another.
    """

    __tablename__ = "list_counts"
    __table_args__ = ({"postgresql_with": {"fillfactor": "20"}},)

    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """One of `shared.platform.row_counts.NAMES`."""
    count: Mapped[int] = mapped_column(server_default="0")


class Transfer(Base):
    """A positive amount from one account to another. Never edited, never deleted: the database refuses both."""

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
    """The order of a wallet's transfers: given under the wallet's lock, which ids from several machines are not."""
    from_account: Mapped[str]
    to_account: Mapped[str]
    """Each one of `AccountKind`."""
    amount_cents: Mapped[int]
    kind: Mapped[str]
    """One of `TransferKind`; each at most once for a payout's attempt, so no bug can settle twice."""
    payout_id: Mapped[uuid.UUID | None]
    """The payout it belongs to."""
    attempt: Mapped[int | None] = mapped_column(sa.Integer)
    """The payout's attempt at that time."""
    topup_id: Mapped[uuid.UUID | None]
    """The top-up it belongs to."""
    available_after_cents: Mapped[int]
    """The wallet's available balance after this transfer: the statement needs no summing."""
    created_at: Mapped[datetime]


class Topup(Leased, Base):
    """Money on its way into a wallet. The row is the write-ahead record; its id is the provider's idempotency key."""

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
    """`bank_transfer` (days) or `rtp` (seconds); `sandbox_grant` for the play money that a sandbox opens with."""
    description: Mapped[str]
    """The customer's words."""
    status: Mapped[str]
    """One of `TopupStatus`; by the provider's word alone."""
    provider_id: Mapped[str | None]
    """The provider's id (`top_…`)."""
    first_sent_at: Mapped[datetime | None]
    """When it was first about to be asked for: the key's lifetime counts from here."""
    last_error: Mapped[str | None]
    """What the provider said last when it did not take it."""
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    """When the money became available."""


class Price(Base):
    """One line of the price list. Prices are data: an operator adds a line, the code does not change."""

    __tablename__ = "prices"
    __table_args__ = (sa.CheckConstraint("flat_cents >= 0 AND basis_points >= 0 AND cap_cents >= 0", name="positive"),)

    rail: Mapped[str] = mapped_column(primary_key=True)
    in_batch: Mapped[bool] = mapped_column(primary_key=True)
    """Whether it is the price inside a batch."""
    from_amount_cents: Mapped[int] = mapped_column(primary_key=True)
    """The line holds from this amount up, until the next line of the same rail."""
    flat_cents: Mapped[int]
    """The fixed part of the fee."""
    basis_points: Mapped[int]
    """The part by amount, in hundredths of a percent, rounded half up."""
    cap_cents: Mapped[int | None]
    """The fee is never more than this; null: no limit."""
