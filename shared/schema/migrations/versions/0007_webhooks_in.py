"""Add a provider event's currency, recipient and contradicted event, and an index of orphans and mismatches.

Building the index blocks writes to its table for about a second per million rows.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the index."""
    op.add_column("provider_events", sa.Column("currency", sa.Text(), nullable=True))
    op.add_column("provider_events", sa.Column("recipient_id", sa.Text(), nullable=True))
    op.add_column("provider_events", sa.Column("driver_id", postgresql.UUID(), nullable=True))
    op.add_column("provider_events", sa.Column("contradicts", postgresql.UUID(), nullable=True))
    op.create_index(
        "ix_provider_events_wallet_id_id_wrong",
        "provider_events",
        ["wallet_id", sa.text("id DESC")],
        postgresql_where=sa.text("status IN ('orphan', 'mismatch') AND wallet_id IS NOT NULL"),
    )
