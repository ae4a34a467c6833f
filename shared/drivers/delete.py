"""Delete a driver; the row stays for its payouts."""

import uuid
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.drivers.rows import driver_not_found
from shared.platform.errors import Conflict
from shared.platform.ids import DRIVER, public_id

# Locks the driver, so no payout to them can be accepted meanwhile.
_LOCK_DRIVER: Final = sa.text("""
    SELECT pending_payouts, status FROM drivers
    WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL FOR UPDATE
""")

# Marks the locked driver as deleted and discards unsent bank details.
_MARK_DELETED: Final = sa.text("""
    UPDATE drivers SET status = 'inactive', deleted_at = :now, updated_at = :now, next_action_at = NULL,
                       sealed_details = NULL
    WHERE id = :id
""")


def soft_delete_driver(connection: sa.Connection, wallet_id: uuid.UUID, driver_id: uuid.UUID, now: datetime) -> str:
    """Mark a driver as deleted; their `ovnDriverId` can be used again. Return the status before.

    Raises:
        NotFound: the wallet has no such driver.
        Conflict: one of their payouts has not ended.

    """
    found = connection.execute(_LOCK_DRIVER, {"id": driver_id, "wallet_id": wallet_id}).one_or_none()
    if found is None:
        raise driver_not_found(public_id(DRIVER, driver_id))
    if found.pending_payouts:
        raise Conflict(
            f"This driver has {found.pending_payouts} payouts that have not ended; cancel them or wait",
            code="DRIVER_HAS_OPEN_PAYOUTS",
            pendingPayouts=found.pending_payouts,
        )
    connection.execute(_MARK_DELETED, {"id": driver_id, "now": now})
    status: str = found.status
    return status
