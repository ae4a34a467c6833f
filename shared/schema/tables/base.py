"""What the tables share: column types, constraint names, and the columns of rows with scheduled work.

Tables with a row per payout have no foreign key to `wallets`, `payouts` or `submissions`: every insert would lock the
one row of a busy wallet. Their rows are written in the transaction that writes or locks the referenced row.
"""

import enum
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Declarative base with fixed constraint names."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        uuid.UUID: pg.UUID(as_uuid=True),
        datetime: sa.DateTime(timezone=True),
        str: sa.Text(),
        int: sa.BigInteger(),
        bytes: pg.BYTEA(),
        list[str]: pg.ARRAY(sa.Text()),
        dict[str, object]: pg.JSONB(),
    }


class Due:
    """Columns of a row with scheduled work."""

    next_action_at: Mapped[datetime | None]
    """When the scheduler enqueues a task for it; null: no step is expected."""

    attempts: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Attempts since the last success; sets the backoff."""


class Leased(Due):
    """Columns of a row whose work calls another system."""

    lease_token: Mapped[uuid.UUID | None]
    """Identifies the lease. A result counts only while the row still has the worker's token."""

    lease_expires_at: Mapped[datetime | None]
    """When another worker may take over, by the database's clock."""


def enum_check(column: str, values: type[enum.StrEnum]) -> sa.CheckConstraint:
    """Constraint: the column has one of the enum's values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def due_index(table: str) -> sa.Index:
    """Partial index of due rows."""
    return sa.Index(f"ix_{table}_due", "next_action_at", postgresql_where=sa.text("next_action_at IS NOT NULL"))
