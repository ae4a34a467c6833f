"""What every table shares: column types, constraint names, and the columns of a row that can act by itself.

Tables that get a row for every payout have no foreign key to `wallets`, `payouts` or `submissions`: each insert
would lock and rewrite the one row of a hot wallet. Their rows are written in the transaction that writes, or has
locked, the row they name.
"""

import enum
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The declarative base; constraint names are fixed, so that migrations can speak of them."""

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
    """Columns of a row that can act by itself."""

    next_action_at: Mapped[datetime | None]
    """When the scheduler's tick rings for it; null: nothing is expected of us."""

    attempts: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How often it was worked on since it was last done; drives the backoff."""


class Leased(Due):
    """Columns of a row whose work takes a call to the outside: who is at it."""

    lease_token: Mapped[uuid.UUID | None]
    """The worker that holds it. A result counts only while the token is still its own."""

    lease_expires_at: Mapped[datetime | None]
    """When the lease may be taken over, by the database's clock."""


def enum_check(column: str, values: type[enum.StrEnum]) -> sa.CheckConstraint:
    """A check that a text column holds one of an enum's values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def due_index(table: str) -> sa.Index:
    """The partial index by which the tick finds what is due."""
    return sa.Index(f"ix_{table}_due", "next_action_at", postgresql_where=sa.text("next_action_at IS NOT NULL"))
