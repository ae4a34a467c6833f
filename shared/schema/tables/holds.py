"""Outgoing holds: what money must not leave for the provider at the moment, why, and who said so."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.holds import HoldKind
from shared.schema.payouts import Rail
from shared.schema.tables.base import Base, enum_check


class OutgoingHold(Base):
    """Outgoing money that waits: a wallet's, a rail's, or, with neither, all. Rows are lifted, never deleted."""

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
    """One of `HoldKind`; each scope is held once by each."""
    wallet_id: Mapped[uuid.UUID | None]
    """The wallet whose money waits; null: every wallet's."""
    rail: Mapped[str | None]
    """The rail on which money waits, one of `Rail`; null: on every rail."""
    reason: Mapped[str]
    """Why: the person's words, or the invariant and what breaks it."""
    placed_by: Mapped[str]
    """Who placed it: an operator as in `root@host`, or `invariant:` and its name."""
    since: Mapped[datetime]
    """When, by the database's clock."""
    lifted_at: Mapped[datetime | None]
    """When it was lifted; null: it holds."""
    lifted_by: Mapped[str | None]
    """Who lifted it, as in `root@host`."""
    lifted_reason: Mapped[str | None]
    """Why it may go on, in the person's words."""
