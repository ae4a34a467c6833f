"""Add retention: progress of the rules, masking of old events, and the pepper tag of API keys.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table and a column, and replace a trigger, briefly blocking writers."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "retention_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("past", sa.UUID(), nullable=True),
        sa.Column("forgotten", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("forgotten_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retention_marks")),
    )
    op.add_column("api_keys", sa.Column("key_pepper", postgresql.BYTEA(), nullable=True))
    op.execute("""
        CREATE FUNCTION refuse_all_but_masking() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.type <> 'driver.verified' OR OLD.created_at > now() - interval '30 days'
               OR to_jsonb(NEW) - 'data' <> to_jsonb(OLD) - 'data'
               OR NEW.data <> OLD.data || '{"name": "…", "email": "…", "phone": "…", "bankAccountLast4": "…"}'
            THEN
                RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE OR REPLACE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON customer_events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER only_masked BEFORE UPDATE ON customer_events
        FOR EACH ROW EXECUTE FUNCTION refuse_all_but_masking()
    """)
