"""Add reconciliation: runs, cases, payout resolutions, and the database identity.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MODES = "mode IN ('sandbox', 'production')"
KINDS = (
    "missing_here",
    "missing_there",
    "amount",
    "currency",
    "recipient",
    "status",
    "paid_twice",
    "balance",
    "unresolved",
    "contradiction",
)


def upgrade() -> None:
    """Add the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reconciliation_runs",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("since", moment, nullable=False),
        sa.Column("until", moment, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payments", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("differences", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("balance_gap_cents", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("heard_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.CheckConstraint(MODES, name=op.f("ck_reconciliation_runs_mode")),
        sa.CheckConstraint("status IN ('running', 'done', 'failed')", name=op.f("ck_reconciliation_runs_status")),
        sa.CheckConstraint("cause IN ('daily', 'command', 'restore')", name=op.f("ck_reconciliation_runs_cause")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_runs")),
    )
    op.create_index(
        "uq_reconciliation_runs_mode_day",
        "reconciliation_runs",
        ["mode", "day"],
        unique=True,
        postgresql_where=sa.text("day IS NOT NULL AND status <> 'failed'"),
    )
    op.create_index("ix_reconciliation_runs_mode_ended_at", "reconciliation_runs", ["mode", "ended_at"])
    _cases(moment)
    op.create_table(
        "payout_resolutions",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("payout_id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("needs_two", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_at", moment, nullable=False),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("confirmed_reason", sa.Text(), nullable=True),
        sa.Column("confirmed_at", moment, nullable=True),
        sa.CheckConstraint("outcome IN ('paid', 'not-paid')", name=op.f("ck_payout_resolutions_outcome")),
        sa.CheckConstraint(
            "confirmed_by <> proposed_by OR NOT needs_two", name=op.f("ck_payout_resolutions_two_people")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_resolutions")),
    )
    op.create_index("ix_payout_resolutions_payout_id_attempt", "payout_resolutions", ["payout_id", "attempt"])
    op.create_table(
        "installation",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("server_started_at", moment, nullable=True),
        sa.Column("written_by", sa.BigInteger(), nullable=False),
        sa.Column("system_identifier", sa.Text(), nullable=True),
        sa.Column("timeline", sa.BigInteger(), nullable=True),
        sa.Column("database_oid", sa.BigInteger(), nullable=True),
        sa.Column("alive_at", moment, nullable=True),
        sa.Column("reconcile_only_since", moment, nullable=True),
        sa.Column("reconcile_only_reason", sa.Text(), nullable=True),
        sa.Column("by_hand", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("compare_since", moment, nullable=True),
        sa.Column("compared_at", moment, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )


def _cases(moment: "sa.DateTime") -> None:
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    op.create_table(
        "reconciliation_cases",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=True),
        sa.Column("payout_id", sa.UUID(), nullable=True),
        sa.Column("submission_id", sa.UUID(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("ours", postgresql.JSONB(), nullable=True),
        sa.Column("theirs", postgresql.JSONB(), nullable=True),
        sa.Column("about_at", moment, nullable=False),
        sa.Column("first_seen_at", moment, nullable=False),
        sa.Column("last_seen_at", moment, nullable=False),
        sa.Column("closed_at", moment, nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(f"kind IN ({kinds})", name=op.f("ck_reconciliation_cases_kind")),
        sa.CheckConstraint(MODES, name=op.f("ck_reconciliation_cases_mode")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_cases")),
    )
    op.create_index("ix_reconciliation_cases_subject_kind", "reconciliation_cases", ["subject", "kind"])
    op.create_index(
        "uq_reconciliation_cases_kind_mode_subject_open",
        "reconciliation_cases",
        ["kind", "mode", "subject"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "ix_reconciliation_cases_payout_id",
        "reconciliation_cases",
        ["payout_id"],
        postgresql_where=sa.text("payout_id IS NOT NULL"),
    )
