"""Progress of scheduled jobs."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.tables.base import Base, Due


class InvariantProof(Due, Base):
    """The scheduled checks of one invariant. `next_action_at` is when a scheduler may check it next; `attempts` counts
    checks that did not finish.
    """

    __tablename__ = "invariant_proofs"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The invariant's name, as in `paid_once`."""
    proved_at: Mapped[datetime | None]
    """Start of the last check that finished: the next one looks at rows changed since then."""
    duration_seconds: Mapped[float | None] = mapped_column(sa.Double())
    """Duration of that check."""
    checked: Mapped[int] = mapped_column(server_default="0")
    """Rows it covered: those changed, and the slice of the sweep."""
    breaks: Mapped[int] = mapped_column(server_default="0")
    """Violations found by the last complete sweep or since; at most a hundred are counted per slice."""
    example: Mapped[str | None]
    """The first of them as a sentence; null: none."""
    turn_after: Mapped[str | None]
    """How far the sweep through all rows has got; null: it starts over."""
    turn_began_at: Mapped[datetime | None]
    """Start of the current sweep."""
    turned_at: Mapped[datetime | None]
    """End of the last complete sweep."""
    turn_breaks: Mapped[int] = mapped_column(server_default="0")
    """The most violations found by one check of the current sweep."""
    turned_breaks: Mapped[int] = mapped_column(server_default="0")
    """The same for the last complete sweep."""


class RetentionMark(Base):
    """Progress of one rule of `shared.operations.retention`."""

    __tablename__ = "retention_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The rule's name."""
    past: Mapped[uuid.UUID | None]
    """Every row up to this id was processed; for rules that change rows instead of deleting them."""
    forgotten: Mapped[int] = mapped_column(server_default="0")
    """Rows deleted or changed by the rule so far."""
    forgotten_at: Mapped[datetime | None]
    """When the last of them was."""
