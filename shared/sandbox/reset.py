"""Reset the sandbox: a new wallet replaces the current one.

The ledger is append-only: open payouts end in the old wallet, which no key opens any more.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa

from shared.onboarding.organizations import open_wallet
from shared.schema.organizations import DuplicateLoads, Mode


def replace_sandbox_wallet(connection: sa.Connection, organization_id: uuid.UUID, now: datetime) -> uuid.UUID:
    """Create a sandbox wallet with the old one's policy and keys; return the old id, to cancel its batches."""
    # Serializes resets: a concurrent one finds the new wallet.
    connection.execute(
        sa.text("SELECT FROM organizations WHERE id = :organization_id FOR NO KEY UPDATE"),
        {"organization_id": organization_id},
    )
    old = connection.execute(
        sa.text("""
            SELECT id, duplicate_loads, low_balance_cents FROM wallets
            WHERE organization_id = :organization_id AND mode = 'sandbox' AND retired_at IS NULL FOR NO KEY UPDATE
        """),
        {"organization_id": organization_id},
    ).one()
    connection.execute(sa.text("UPDATE wallets SET retired_at = :now WHERE id = :id"), {"id": old.id, "now": now})
    connection.execute(
        sa.text("UPDATE webhook_endpoints SET status = 'disabled', paused_reason = NULL WHERE wallet_id = :id"),
        {"id": old.id},
    )
    new_wallet_id = open_wallet(connection, organization_id, Mode.SANDBOX, now, DuplicateLoads(old.duplicate_loads))
    connection.execute(
        sa.text("UPDATE wallets SET low_balance_cents = :cents WHERE id = :id"),
        {"id": new_wallet_id, "cents": old.low_balance_cents},
    )
    connection.execute(
        sa.text("UPDATE api_keys SET wallet_id = :new_id WHERE wallet_id = :id"),
        {"id": old.id, "new_id": new_wallet_id},
    )
    old_id: uuid.UUID = old.id
    return old_id
