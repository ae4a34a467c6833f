"""Add batches, key approval, sessions, list counts, and one payout per load.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVE = (
    "load_id IS NOT NULL AND (status IN ('validated', 'queued', 'processing', 'completed') OR held_reason IS NOT NULL)"
)


def upgrade() -> None:
    """Add columns and tables; fill the counters."""
    organizations()
    batches()
    payouts_and_drivers()
    lists()
    fill_counters()


def organizations() -> None:
    op.drop_constraint("uq_wallets_organization_id_mode", "wallets", type_="unique")
    op.add_column("wallets", sa.Column("duplicate_loads", sa.Text(), server_default="warn", nullable=False))
    op.add_column("wallets", sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_wallets_duplicate_loads"), "wallets", "duplicate_loads IN ('warn', 'refuse')")
    op.create_index(
        "uq_wallets_organization_id_mode",
        "wallets",
        ["organization_id", "mode"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    for column in (
        sa.Column("created_by", sa.UUID(), nullable=True),
        sa.Column("approval_status", sa.Text(), nullable=True),
        sa.Column("approval_reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.UUID(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rejection_reason", sa.Text(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rate_limit_per_minute", sa.Integer(), nullable=True),
        sa.Column("previous_key_hash", sa.LargeBinary(), nullable=True),
        sa.Column("previous_valid_until", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("api_keys", column)
    op.execute("""
        UPDATE api_keys SET approval_status = 'approved', created_by = (
            SELECT users.id FROM users JOIN wallets USING (organization_id)
            WHERE wallets.id = api_keys.wallet_id ORDER BY users.role <> 'owner', users.id LIMIT 1)
    """)
    op.alter_column("api_keys", "created_by", nullable=False)
    op.alter_column("api_keys", "approval_status", nullable=False)
    op.create_check_constraint(
        op.f("ck_api_keys_approval_status"), "api_keys", "approval_status IN ('pending', 'approved', 'rejected')"
    )
    op.create_unique_constraint(op.f("uq_api_keys_previous_key_hash"), "api_keys", ["previous_key_hash"])
    op.create_foreign_key(op.f("fk_api_keys_created_by"), "api_keys", "users", ["created_by"], ["id"])
    op.create_foreign_key(op.f("fk_api_keys_decided_by"), "api_keys", "users", ["decided_by"], ["id"])
    op.create_index("ix_api_keys_created_by_id", "api_keys", ["created_by", sa.text("id DESC")])
    op.create_table(
        "sessions",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])


def batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rail", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payout_count", sa.BigInteger(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("fee_cents", sa.BigInteger(), nullable=False),
        sa.Column("open_payouts", sa.BigInteger(), nullable=False),
        sa.Column("paid_payouts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("canceled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_action_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("rail IN ('standard', 'same_day', 'instant')", name=op.f("ck_batches_rail")),
        sa.CheckConstraint(
            "status IN ('queued', 'processing', 'completed', 'failed', 'canceled')", name=op.f("ck_batches_status")
        ),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_batches_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_wallet_id_id", "batches", ["wallet_id", sa.text("id DESC")])
    op.create_index("ix_batches_wallet_id_status_id", "batches", ["wallet_id", "status", sa.text("id DESC")])
    op.create_index(
        "ix_batches_wallet_id_scheduled",
        "batches",
        ["wallet_id", "status", sa.text("id DESC")],
        postgresql_where=sa.text("scheduled_for IS NOT NULL"),
    )
    op.create_index(
        "ix_batches_due", "batches", ["next_action_at"], postgresql_where=sa.text("next_action_at IS NOT NULL")
    )


def payouts_and_drivers() -> None:
    op.add_column("payouts", sa.Column("batch_id", sa.UUID(), nullable=True))
    op.add_column("payouts", sa.Column("duplicate_of", sa.UUID(), nullable=True))
    op.add_column("payouts", sa.Column("duplicate_reason", sa.Text(), nullable=True))
    op.add_column("payouts", sa.Column("scenario", sa.Text(), nullable=True))
    op.create_index(
        "ix_payouts_batch_id_id", "payouts", ["batch_id", "id"], postgresql_where=sa.text("batch_id IS NOT NULL")
    )
    op.create_index("ix_payouts_driver_id_status_id", "payouts", ["driver_id", "status", sa.text("id DESC")])
    op.create_index("ix_payouts_live_load", "payouts", ["driver_id", "load_id", "id"], postgresql_where=sa.text(LIVE))
    op.add_column("drivers", sa.Column("bank_account_last4", sa.Text(), nullable=True))
    op.add_column("drivers", sa.Column("sealed_details", sa.LargeBinary(), nullable=True))
    for name in ("payout_count", "pending_payouts", "total_paid_cents"):
        op.add_column("drivers", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.execute("ALTER TABLE drivers SET (fillfactor = 70)")
    op.create_index("ix_drivers_wallet_id_ovn_driver_id", "drivers", ["wallet_id", "ovn_driver_id"])
    op.create_index(
        "ix_drivers_wallet_id_status_id",
        "drivers",
        ["wallet_id", "status", sa.text("id DESC")],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def lists() -> None:
    """Add counts, an index for each filter, and the wallet of a provider event."""
    op.create_table(
        "list_counts",
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_list_counts_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", "name", name=op.f("pk_list_counts")),
        postgresql_with={"fillfactor": "20"},
    )
    op.create_index(
        "ix_transfers_rare_kinds",
        "transfers",
        ["wallet_id", "kind", sa.text("position DESC")],
        postgresql_where=sa.text("kind IN ('topup_settle', 'release', 'return')"),
    )
    op.add_column("provider_events", sa.Column("wallet_id", sa.UUID(), nullable=True))
    known = sa.text("wallet_id IS NOT NULL")
    op.create_index(
        "ix_provider_events_wallet_id_id", "provider_events", ["wallet_id", sa.text("id DESC")], postgresql_where=known
    )
    op.create_index(
        "ix_provider_events_wallet_id_type_id",
        "provider_events",
        ["wallet_id", "type", sa.text("id DESC")],
        postgresql_where=known,
    )


def fill_counters() -> None:
    """Fill the counters from existing rows. Earlier provider events get no wallet, as they are many."""
    op.execute("""
        INSERT INTO list_counts (wallet_id, name)
        SELECT wallets.id, names.name FROM wallets, unnest(ARRAY[
            'payouts', 'payouts:completed', 'payouts:failed', 'payouts:canceled', 'payouts:returned',
            'transfers:topup_settle', 'transfers:reserve', 'transfers:release', 'transfers:return']) AS names (name)
    """)
    op.execute("""
        UPDATE list_counts SET count = found.count
        FROM (
            SELECT wallet_id, 'payouts' AS name, count(*) FROM payouts GROUP BY wallet_id
            UNION ALL SELECT wallet_id, 'payouts:' || status, count(*) FROM payouts GROUP BY wallet_id, status
            UNION ALL SELECT wallet_id, 'transfers:' || kind, count(*) FROM transfers GROUP BY wallet_id, kind
        ) AS found
        WHERE list_counts.wallet_id = found.wallet_id AND list_counts.name = found.name
    """)
    op.execute("""
        UPDATE drivers SET payout_count = found.payouts, pending_payouts = found.pending, total_paid_cents = found.cents
        FROM (
            SELECT driver_id, count(*) AS payouts,
                   count(*) FILTER (WHERE status IN ('validated', 'queued', 'processing')) AS pending,
                   coalesce(sum(amount_cents - fee_cents) FILTER (WHERE status = 'completed'), 0) AS cents
            FROM payouts GROUP BY driver_id
        ) AS found
        WHERE drivers.id = found.driver_id
    """)
