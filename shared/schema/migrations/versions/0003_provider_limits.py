"""Add the provider's rate limits and the dispatch window of standard payouts.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two small tables and a column."""
    op.create_table(
        "provider_limits",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_provider_limits")),
    )
    op.create_table(
        "provider_calls",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "began_at", name=op.f("pk_provider_calls")),
    )
    op.add_column("wallets", sa.Column("departed_at", sa.DateTime(timezone=True), nullable=True))
