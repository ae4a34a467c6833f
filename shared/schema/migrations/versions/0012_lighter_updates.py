"""Lighter updates: one index of payouts less, and room on the pages of payouts and provider events for their next
versions.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drops an index, which stops the table for a moment; pages that are full stay as they are."""
    # A driver's payouts are few: those in a status are found among all of his by `ix_payouts_driver_id_id`.
    op.drop_index("ix_payouts_driver_id_status_id", table_name="payouts")
    # Each row gets three more versions, each event one. On the same page they cost half the log that they cost on
    # another, and no record of its own for the lock on the old one meanwhile.
    op.execute("ALTER TABLE payouts SET (fillfactor = 50)")
    op.execute("ALTER TABLE provider_events SET (fillfactor = 50)")
