"""Analytics: the ledger folded into sums by time, by driver and by failure. All of it can be made anew from the ledger.

Each table holds the same transfers once for each grain: a question over a year adds up months, weeks and days, not
transfers. Quarters of an hour are in UTC, for every zone's days are made of them; the others are the local calendar's.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.analytics import Grain
from shared.schema.tables.base import Base, enum_check


class AnalyticsFold(Base):
    """How far a wallet's ledger has been folded into the tables below. Whoever folds holds this row."""

    __tablename__ = "analytics_folds"

    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(server_default="0")
    """The last transfer that is in the sums; those behind it are read from the ledger whenever somebody asks."""


class Summed:
    """Columns of a sum: which time it is about, and what ended in it."""

    grain: Mapped[str] = mapped_column(primary_key=True)
    """One of `Grain`."""
    starts: Mapped[datetime] = mapped_column(sa.DateTime(), primary_key=True)
    """Where the time begins: of a quarter in UTC, of the others by the clock in the organization's zone."""


class Ended(Summed):
    """Columns of a sum of payouts that ended; `shared.reporting.analytics.definitions` says what each means."""

    paid_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts that completed."""
    net_cents: Mapped[int] = mapped_column(server_default="0")
    """What they brought the drivers: `settle` transfers."""
    fee_cents: Mapped[int] = mapped_column(server_default="0")
    """What we kept of them: `fee` transfers."""
    failed_count: Mapped[int] = mapped_column(server_default="0")
    """Attempts that failed."""
    failed_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts, available again: `release` transfers."""
    returned_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts that banks sent back, whenever they had completed."""
    returned_cents: Mapped[int] = mapped_column(server_default="0")
    """What came back of them: `return` transfers."""
    waits: Mapped[list[int]] = mapped_column(pg.ARRAY(sa.BigInteger()), server_default="{}")
    """How long the paid ones took, as `shared.reporting.analytics.waits` packs it."""


class AnalyticsTotal(Ended, Base):
    """What a wallet paid in a time on a rail."""

    __tablename__ = "analytics_totals"
    __table_args__ = (enum_check("grain", Grain), sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "rail"))

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    rail: Mapped[str] = mapped_column(primary_key=True)
    """One of `Rail`."""
    accepted_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts whose amount was set aside for the first time."""
    accepted_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts: `reserve` transfers of first attempts."""
    retried_count: Mapped[int] = mapped_column(server_default="0")
    """Attempts after the first."""
    retried_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts: the other `reserve` transfers."""
    canceled_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts called off after their amount was set aside."""
    canceled_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts, available again: `release` transfers."""
    first_position: Mapped[int]
    """The first of the transfers in this sum."""
    last_position: Mapped[int]
    """The last: a part of a quarter is read from the ledger between the two."""


class AnalyticsDriver(Ended, Base):
    """What a driver was paid in a time."""

    __tablename__ = "analytics_drivers"
    __table_args__ = (
        enum_check("grain", Grain),
        sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "driver_id"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    driver_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AnalyticsFailure(Summed, Base):
    """How often payouts of a wallet ended badly in a time, for one reason."""

    __tablename__ = "analytics_failures"
    __table_args__ = (
        enum_check("grain", Grain),
        sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "rail", "outcome", "code"),
    )

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    rail: Mapped[str] = mapped_column(primary_key=True)
    """One of `Rail`."""
    outcome: Mapped[str] = mapped_column(primary_key=True)
    """`failed`, `canceled` (by us: the driver could not be paid any more) or `returned`."""
    code: Mapped[str] = mapped_column(primary_key=True)
    """The reason, mostly in the provider's words; `UNKNOWN` where none was kept."""
    count: Mapped[int] = mapped_column(server_default="0")
    """How many ended so."""
    cents: Mapped[int] = mapped_column(server_default="0")
    """What was available again by it."""
    recovered_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts paid in this time, by another attempt, whose attempt before had failed for this reason."""
