"""Add invariant checks and outgoing holds.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables. The previous release ignores holds: place one only once all processes are replaced."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "outgoing_holds",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=True),
        sa.Column("rail", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("lifted_at", moment, nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lifted_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('frozen', 'paused')", name=op.f("ck_outgoing_holds_kind")),
        sa.CheckConstraint("rail IN ('standard', 'same_day', 'instant')", name=op.f("ck_outgoing_holds_rail")),
        sa.CheckConstraint("wallet_id IS NULL OR rail IS NULL", name=op.f("ck_outgoing_holds_one_scope")),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_outgoing_holds_reason")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outgoing_holds")),
    )
    op.create_index(
        "uq_outgoing_holds_active",
        "outgoing_holds",
        ["kind", "wallet_id", "rail"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "invariant_proofs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("proved_at", moment, nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("checked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("breaks", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("example", sa.Text(), nullable=True),
        sa.Column("turn_after", sa.Text(), nullable=True),
        sa.Column("turn_began_at", moment, nullable=True),
        sa.Column("turned_at", moment, nullable=True),
        sa.Column("turn_breaks", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("turned_breaks", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_action_at", moment, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_invariant_proofs")),
    )
