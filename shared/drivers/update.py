"""Apply a customer's changes to a driver."""

import uuid
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.drivers.queries import load_driver
from shared.drivers.rows import DriverRow, driver_not_found
from shared.platform.ids import DRIVER, public_id


class DriverChanges(NamedTuple):
    """A customer's changes to a driver; None keeps the value."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    no_phone: bool = False
    """Whether to remove the phone number."""
    active: bool | None = None
    sealed_details: bytes | None = None
    """Bank details and identity for the provider, encrypted by `shared.drivers.bank_details.encrypt_details`."""


# Changes one driver; locks its row. A driver who is activated again gets the status that the provider's verification
# implies. New bank details must be verified: until then the driver is pending.
_UPDATE_DRIVER: Final = sa.text("""
    UPDATE drivers SET name = coalesce(:name, name), email = coalesce(:email, email),
        phone = CASE WHEN :no_phone THEN NULL ELSE coalesce(:phone, phone) END, updated_at = :now,
        kyc_status = CASE WHEN CAST(:sealed_details AS bytea) IS NULL THEN kyc_status ELSE 'pending' END,
        status = CASE
            WHEN CAST(:sealed_details AS bytea) IS NOT NULL AND status = 'active' AND :active IS NOT FALSE
            THEN 'pending'
            WHEN CAST(:active AS boolean) IS NULL THEN status
            WHEN NOT :active THEN 'inactive'
            WHEN kyc_status = 'verified' THEN 'active'
            WHEN recipient_id IS NOT NULL THEN 'pending'
            ELSE 'invited' END,
        sealed_details = coalesce(:sealed_details, sealed_details),
        next_action_at = CASE WHEN CAST(:sealed_details AS bytea) IS NULL THEN next_action_at ELSE :due END
    WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL
""")


def apply_driver_changes(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    driver_id: uuid.UUID,
    changes: DriverChanges,
    now: datetime,
    *,
    grace: timedelta,
) -> DriverRow:
    """Change a driver; return the new row. `grace` is the time for the wake-up that sends new bank details.

    Raises:
        NotFound: the wallet has no such driver.

    """
    connection.execute(
        _UPDATE_DRIVER,
        {"id": driver_id, "wallet_id": wallet_id, "now": now, "due": now + grace, **changes._asdict()},
    )
    row = load_driver(connection, wallet_id, driver_id)
    if row is None:
        raise driver_not_found(public_id(DRIVER, driver_id))
    return row
