"""Drivers as they are read, and as the API shows them."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.platform.clock import format_rfc3339
from shared.platform.ids import DRIVER, public_id
from shared.platform.pagination import Page, PageRequest, select_page_ids


class DriverRow(NamedTuple):
    """A driver, with what payouts say of him; see `shared.schema.tables.drivers.Driver`."""

    id: uuid.UUID
    ovn_driver_id: str
    name: str
    email: str
    phone: str | None
    status: str
    kyc_status: str
    last_error: str | None
    bank_account_last4: str | None
    created_at: datetime
    total_paid_cents: int
    """The net amounts of completed payouts: what the driver has received."""
    pending_payouts: int
    """How many payouts are on their way."""


def driver_payload(row: DriverRow) -> dict[str, Any]:
    """The driver in the API's shape (reference: Drivers)."""
    shown: dict[str, Any] = {
        "id": public_id(DRIVER, row.id),
        "ovnDriverId": row.ovn_driver_id,
        "name": row.name,
        "email": row.email,
        "phone": row.phone,
        "status": row.status,
        "kycStatus": row.kyc_status,
        "totalPaid": row.total_paid_cents,
        "pendingPayouts": row.pending_payouts,
        "bankAccountLast4": row.bank_account_last4,
        "createdAt": format_rfc3339(row.created_at),
    }
    if row.last_error is not None:
        shown["registrationError"] = row.last_error
    return shown


_COLUMNS = """
    id, ovn_driver_id, name, email, phone, status, kyc_status, last_error, bank_account_last4, created_at,
    total_paid_cents, pending_payouts
"""


def load_driver(
    connection: sa.Connection, wallet_id: uuid.UUID, driver_id: uuid.UUID, *, lock: bool = False
) -> DriverRow | None:
    """One driver of the wallet, locked for a change if asked for; None if it has none by that id."""
    row = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM drivers WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL"
            + (" FOR NO KEY UPDATE" if lock else "")
        ),
        {"wallet_id": wallet_id, "id": driver_id},
    ).one_or_none()
    return None if row is None else DriverRow._make(row)


def load_driver_page(
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: PageRequest, *, status: str | None = None
) -> Page[DriverRow]:
    """A part of the wallet's drivers, newest first."""
    where, values = "wallet_id = :wallet_id AND deleted_at IS NULL", dict[str, Any](wallet_id=wallet_id)
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status
    ids, more = select_page_ids(connection, "drivers", where, values, wanted)
    rows = connection.execute(
        sa.text(f"SELECT {_COLUMNS} FROM drivers WHERE id = ANY(:ids) ORDER BY id DESC"), {"ids": ids}
    )
    total = connection.scalar(sa.text(f"SELECT count(*) FROM drivers WHERE {where}"), values) or 0
    return Page([DriverRow._make(row) for row in rows], total, more)
