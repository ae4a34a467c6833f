"""Invariants: when each was last proved, and what came of it."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.tables.base import Base, Due


class InvariantProof(Due, Base):
    """One invariant's proofs by the scheduled job. The row is there after the first one, and is the claim of whoever
    is at it: `next_action_at` is when the next scheduler may prove it; `attempts` counts proofs that did not end.
    """

    __tablename__ = "invariant_proofs"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The invariant's, as in `paid_once`."""
    proved_at: Mapped[datetime | None]
    """When the last proof that ended began: what has changed since is what the next one looks at."""
    duration_seconds: Mapped[float | None] = mapped_column(sa.Double())
    """How long that took."""
    checked: Mapped[int] = mapped_column(server_default="0")
    """How many rows it was about: those changed, and those whose turn it was."""
    breaks: Mapped[int] = mapped_column(server_default="0")
    """How many breaks there are, by the last whole turn or since; of each portion at most a hundred are counted."""
    example: Mapped[str | None]
    """The first of them, as a sentence; null: none."""
    turn_after: Mapped[str | None]
    """Where its turn through all rows has come to; null: it begins anew."""
    turn_began_at: Mapped[datetime | None]
    """When this turn through all rows began."""
    turned_at: Mapped[datetime | None]
    """When the last turn through all rows came to its end."""
    turn_breaks: Mapped[int] = mapped_column(server_default="0")
    """The most breaks that a proof of this turn has found so far."""
    turned_breaks: Mapped[int] = mapped_column(server_default="0")
    """The same of the last whole turn."""
