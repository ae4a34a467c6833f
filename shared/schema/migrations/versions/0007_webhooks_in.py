"""What webhooks say besides amounts, which of them contradict each other, and an index of those that went wrong.

The columns are empty at first, so adding them rewrites nothing. The index holds next to nothing; it is built in one
pass, in which writes to its table wait: about a second for a million rows.

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
    """Adds the columns and the index."""
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
