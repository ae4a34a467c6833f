"""Outgoing holds."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.controls import HoldKind
from shared.schema.payouts import Rail
from shared.schema.tables.base import Base, enum_check


class OutgoingHold(Base):
    """Stops outgoing money of a wallet, of a rail, or, with neither, all. Lifted, never deleted."""

    __tablename__ = "outgoing_holds"
    __table_args__ = (
        enum_check("kind", HoldKind),
        enum_check("rail", Rail),
        sa.CheckConstraint("wallet_id IS NULL OR rail IS NULL", name="one_scope"),
        sa.CheckConstraint("reason <> ''", name="reason"),
        sa.Index(
            "uq_outgoing_holds_active",
            "kind",
            "wallet_id",
            "rail",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=sa.text("lifted_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """One of `HoldKind`; a scope has at most one active hold of each kind."""
    wallet_id: Mapped[uuid.UUID | None]
    """Null: every wallet."""
    rail: Mapped[str | None]
    """One of `Rail`; null: every rail."""
    reason: Mapped[str]
    """Given by the operator, or the invariant and its violation."""
    placed_by: Mapped[str]
    """An operator as in `root@host`, or `invariant:` and its name."""
    since: Mapped[datetime]
    """By the database's clock."""
    lifted_at: Mapped[datetime | None]
    """Null: active."""
    lifted_by: Mapped[str | None]
    """An operator as in `root@host`."""
    lifted_reason: Mapped[str | None]
    """Given by the operator."""
