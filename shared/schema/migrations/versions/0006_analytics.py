"""Add analytics: time zones, failure codes, and sums of the ledger, filled by the scheduler.

Revision ID: 0006
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

GRAINS = "grain IN ('quarter', 'day', 'week', 'month', 'year')"
ENDED = ("paid_count", "net_cents", "fee_cents", "failed_count", "failed_cents", "returned_count", "returned_cents")
BEGUN = ("accepted_count", "accepted_cents", "retried_count", "retried_cents", "canceled_count", "canceled_cents")


def upgrade() -> None:
    """Add columns that the previous release ignores, and tables that only this release writes."""
    op.add_column("organizations", sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False))
    op.add_column("payout_transitions", sa.Column("failure_code", sa.Text(), nullable=True))
    op.create_table(
        "analytics_folds",
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_analytics_folds_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_analytics_folds")),
    )
    positions = [sa.Column(name, sa.BigInteger(), nullable=False) for name in ("first_position", "last_position")]
    rail = sa.Column("rail", sa.Text(), nullable=False)
    sums("analytics_totals", [rail], (*BEGUN, *ENDED), [*positions, waits()])
    driver_id = sa.Column("driver_id", sa.UUID(), nullable=False)
    sums("analytics_drivers", [driver_id], ENDED, [waits()], postgresql_with={"fillfactor": "80"})
    reason = [sa.Column(name, sa.Text(), nullable=False) for name in ("rail", "outcome", "code")]
    sums("analytics_failures", reason, ("count", "cents", "recovered_count"), [])


def waits() -> sa.Column[Any]:
    return sa.Column("waits", pg.ARRAY(sa.BigInteger()), server_default="{}", nullable=False)


def sums(
    table: str,
    key: Sequence[sa.Column[Any]],
    counted: Sequence[str],
    others: Sequence[sa.Column[Any]],
    **options: Any,
) -> None:
    """Create a table of sums by wallet, grain, start and `key`."""
    op.create_table(
        table,
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("starts", sa.DateTime(), nullable=False),
        *key,
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in counted),
        *others,
        sa.CheckConstraint(GRAINS, name=op.f(f"ck_{table}_grain")),
        sa.PrimaryKeyConstraint(
            "wallet_id", "grain", "starts", *(column.name for column in key), name=op.f(f"pk_{table}")
        ),
        **options,
    )
