"""Analytics: the ledger summed by period, by driver and by failure; can be rebuilt from the ledger.

Each table sums the same transfers once per grain: a query over a year adds up months, weeks and days.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.ledger import Grain
from shared.schema.tables.base import Base, enum_check


class AnalyticsFold(Base):
    """How far a wallet's ledger is folded into the sums below. Folding locks this row."""

    __tablename__ = "analytics_folds"

    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(server_default="0")
    """The last transfer in the sums; queries read later ones from the ledger."""


class PeriodSum:
    grain: Mapped[str] = mapped_column(primary_key=True)
    """One of `Grain`."""
    starts: Mapped[datetime] = mapped_column(sa.DateTime(), primary_key=True)
    """Start of the period: of a quarter in UTC, of the others in the organization's time zone."""


class EndedPayoutsSum(PeriodSum):
    """Columns of a sum of ended payouts; see `shared.reporting.analytics.definitions`."""

    paid_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts that completed."""
    net_cents: Mapped[int] = mapped_column(server_default="0")
    """Paid to the drivers: `settle` transfers."""
    fee_cents: Mapped[int] = mapped_column(server_default="0")
    """Our fees: `fee` transfers."""
    failed_count: Mapped[int] = mapped_column(server_default="0")
    """Attempts that failed."""
    failed_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts, available again: `release` transfers."""
    returned_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts sent back by banks, whenever they had completed."""
    returned_cents: Mapped[int] = mapped_column(server_default="0")
    """Amounts sent back: `return` transfers."""
    waits: Mapped[list[int]] = mapped_column(pg.ARRAY(sa.BigInteger()), server_default="{}")
    """Durations of the paid ones, packed by `shared.reporting.analytics.waits`."""


class AnalyticsTotal(EndedPayoutsSum, Base):
    """A wallet's payouts on one rail in a period."""

    __tablename__ = "analytics_totals"
    __table_args__ = (enum_check("grain", Grain), sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "rail"))

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    rail: Mapped[str] = mapped_column(primary_key=True)
    """One of `Rail`."""
    accepted_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts whose amount was reserved for the first time."""
    accepted_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts: `reserve` transfers of first attempts."""
    retried_count: Mapped[int] = mapped_column(server_default="0")
    """Attempts after the first."""
    retried_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts: the other `reserve` transfers."""
    canceled_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts canceled after their amount was reserved."""
    canceled_cents: Mapped[int] = mapped_column(server_default="0")
    """Their amounts, available again: `release` transfers."""
    first_position: Mapped[int]
    """Position of the first transfer in this sum."""
    last_position: Mapped[int]
    """Position of the last one: a query for part of a quarter reads the ledger between the two."""


class AnalyticsDriver(EndedPayoutsSum, Base):
    """A driver's payouts in a period."""

    __tablename__ = "analytics_drivers"
    __table_args__ = (
        enum_check("grain", Grain),
        sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "driver_id"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    driver_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AnalyticsFailure(PeriodSum, Base):
    """A wallet's failed, canceled and returned payouts in a period, by reason."""

    __tablename__ = "analytics_failures"
    __table_args__ = (
        enum_check("grain", Grain),
        sa.PrimaryKeyConstraint("wallet_id", "grain", "starts", "rail", "outcome", "code"),
    )

    wallet_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    rail: Mapped[str] = mapped_column(primary_key=True)
    """One of `Rail`."""
    outcome: Mapped[str] = mapped_column(primary_key=True)
    """`failed`, `canceled` (by us: the driver could no longer be paid) or `returned`."""
    code: Mapped[str] = mapped_column(primary_key=True)
    """The failure code, usually the provider's; `UNKNOWN` where none was stored."""
    count: Mapped[int] = mapped_column(server_default="0")
    """How many payouts."""
    cents: Mapped[int] = mapped_column(server_default="0")
    """The amount that became available again."""
    recovered_count: Mapped[int] = mapped_column(server_default="0")
    """Payouts paid in this period whose previous attempt had failed for this reason."""
