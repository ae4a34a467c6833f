"""Add what payout timelines and statements read: unclear answers, hold and poll times, three indexes.

Building an index blocks writes to its table for about a second per million rows.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes, then the columns, as their locks block readers."""
    op.create_index(
        "ix_submission_items_payout_id_dissolved",
        "submission_items",
        ["payout_id"],
        postgresql_where=sa.text("dissolved"),
    )
    op.create_index(
        "ix_customer_events_payout_id",
        "customer_events",
        ["payout_id"],
        postgresql_where=sa.text("payout_id IS NOT NULL"),
    )
    op.create_index(
        "ix_transfers_statement",
        "transfers",
        ["wallet_id", "created_at"],
        postgresql_include=["position", "kind"],
        postgresql_where=sa.text("kind IN ('topup_settle', 'reserve', 'release', 'return')"),
    )
    op.add_column("payouts", sa.Column("held_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("payouts", sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("submissions", sa.Column("unclear_answers", postgresql.JSONB(), nullable=True))
