"""Editing drivers: the customer's changes, and a delete that keeps the books."""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from shared.drivers.rows import DriverRow, load_driver
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import DRIVER, echo_id, public_id


class DriverChanges(NamedTuple):
    """What the customer changes of a driver; None leaves it."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    no_phone: bool = False
    """Whether the phone is taken away."""
    active: bool | None = None
    sealed_details: bytes | None = None
    """Bank details and identity to pass on, as `shared.drivers.bank_details.encrypt_details` made them."""


def apply_driver_changes(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    driver_id: uuid.UUID,
    changes: DriverChanges,
    now: datetime,
    *,
    grace: timedelta,
) -> DriverRow:
    """Changes a driver. One who is switched on again is what the provider's word makes him: active if verified,
    else pending or invited. With new bank details he is not verified until the provider says so again; a worker passes
    them on, and `grace` is how long its doorbell has.

    Raises:
        NotFound: the wallet has no such driver.

    """
    connection.execute(
        sa.text("""
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
        """),
        {"id": driver_id, "wallet_id": wallet_id, "now": now, "due": now + grace, **changes._asdict()},
    )
    row = load_driver(connection, wallet_id, driver_id)
    if row is None:
        raise driver_not_found(public_id(DRIVER, driver_id))
    return row


def soft_delete_driver(connection: sa.Connection, wallet_id: uuid.UUID, driver_id: uuid.UUID, now: datetime) -> str:
    """Deletes a driver for the customer; the row stays for the payouts that name it, and his `ovnDriverId` is free.
    Returns the status that he had.

    Raises:
        NotFound: the wallet has no such driver.
        Conflict: a payout to him has not ended.

    """
    found = connection.execute(
        sa.text("""
            SELECT pending_payouts, status FROM drivers
            WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL FOR UPDATE
        """),
        {"id": driver_id, "wallet_id": wallet_id},
    ).one_or_none()
    if found is None:
        raise driver_not_found(public_id(DRIVER, driver_id))
    if found.pending_payouts:
        raise Conflict(
            f"This driver has {found.pending_payouts} payouts that have not ended; cancel them or wait",
            code="DRIVER_HAS_OPEN_PAYOUTS",
            pendingPayouts=found.pending_payouts,
        )
    connection.execute(
        sa.text("""
            UPDATE drivers SET status = 'inactive', deleted_at = :now, updated_at = :now, next_action_at = NULL,
                               sealed_details = NULL
            WHERE id = :id
        """),
        {"id": driver_id, "now": now},
    )
    status: str = found.status
    return status


def driver_not_found(reference: str) -> NotFound:
    """The refusal for a driver that this wallet does not have."""
    return NotFound(f"No driver {echo_id(DRIVER, reference)}", code="DRIVER_NOT_FOUND")
