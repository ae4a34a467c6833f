"""Reset the sandbox: a new wallet replaces the current one.

The ledger is append-only: open payouts end in the old wallet, which no key opens any more.
"""

import uuid
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.onboarding.organizations import open_wallet
from shared.schema.organizations import DuplicateLoads, Mode

# Locks the organization.
_LOCK_ORGANIZATION: Final = sa.text("SELECT FROM organizations WHERE id = :organization_id FOR NO KEY UPDATE")

# Locks the current sandbox wallet.
_LOCK_SANDBOX_WALLET: Final = sa.text("""
    SELECT id, duplicate_loads, low_balance_cents FROM wallets
    WHERE organization_id = :organization_id AND mode = 'sandbox' AND retired_at IS NULL FOR NO KEY UPDATE
""")

# Retires the locked wallet.
_RETIRE_WALLET: Final = sa.text("UPDATE wallets SET retired_at = :now WHERE id = :id")

# Disables the old wallet's endpoints; locks their rows.
_DISABLE_ENDPOINTS: Final = sa.text(
    "UPDATE webhook_endpoints SET status = 'disabled', paused_reason = NULL WHERE wallet_id = :id"
)

# Sets the new wallet's threshold.
_SET_LOW_BALANCE: Final = sa.text("UPDATE wallets SET low_balance_cents = :cents WHERE id = :id")

# Moves the keys to the new wallet; locks their rows.
_MOVE_KEYS: Final = sa.text("UPDATE api_keys SET wallet_id = :new_id WHERE wallet_id = :id")


def replace_sandbox_wallet(connection: sa.Connection, organization_id: uuid.UUID, now: datetime) -> uuid.UUID:
    """Create a sandbox wallet with the old one's policy and keys; return the old id, to cancel its batches."""
    # Serializes resets: a concurrent one finds the new wallet.
    connection.execute(_LOCK_ORGANIZATION, {"organization_id": organization_id})
    old = connection.execute(_LOCK_SANDBOX_WALLET, {"organization_id": organization_id}).one()
    connection.execute(_RETIRE_WALLET, {"id": old.id, "now": now})
    connection.execute(_DISABLE_ENDPOINTS, {"id": old.id})
    new_wallet_id = open_wallet(connection, organization_id, Mode.SANDBOX, now, DuplicateLoads(old.duplicate_loads))
    connection.execute(_SET_LOW_BALANCE, {"id": new_wallet_id, "cents": old.low_balance_cents})
    connection.execute(_MOVE_KEYS, {"id": old.id, "new_id": new_wallet_id})
    old_id: uuid.UUID = old.id
    return old_id
