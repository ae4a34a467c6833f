"""Retention: how far each rule of what is forgotten has come."""

import uuid
from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.tables.base import Base


class RetentionMark(Base):
    """One rule of `shared/operations/retention.py`; there from the first time on that it has found something."""

    __tablename__ = "retention_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The rule's."""
    past: Mapped[uuid.UUID | None]
    """Every row up to this id was looked at; for rules that change rows rather than delete them."""
    forgotten: Mapped[int] = mapped_column(server_default="0")
    """How many rows were forgotten by it so far."""
    forgotten_at: Mapped[datetime | None]
    """When the last of them was."""
