"""Drivers as they are read, and as the API shows them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.clock import rfc3339
from shared.ids import DRIVER, show


class DriverRow(NamedTuple):
    """A driver, with what payouts say of him; see `shared.models.drivers.Driver`."""

    id: uuid.UUID
    ovn_driver_id: str
    name: str
    email: str
    phone: str | None
    status: str
    kyc_status: str
    last_error: str | None
    created_at: datetime
    total_paid_cents: int
    """The net amounts of completed payouts: what the driver has received."""
    pending_payouts: int
    """How many payouts are on their way."""


def public(row: DriverRow) -> dict[str, Any]:
    """The driver in the API's shape (reference: Drivers)."""
    shown: dict[str, Any] = {
        "id": show(DRIVER, row.id),
        "ovnDriverId": row.ovn_driver_id,
        "name": row.name,
        "email": row.email,
        "phone": row.phone,
        "status": row.status,
        "kycStatus": row.kyc_status,
        "totalPaid": row.total_paid_cents,
        "pendingPayouts": row.pending_payouts,
        "createdAt": rfc3339(row.created_at),
    }
    if row.last_error is not None:
        shown["registrationError"] = row.last_error
    return shown


_SELECT = """
    SELECT id, ovn_driver_id, name, email, phone, drivers.status, kyc_status, last_error, created_at,
           coalesce(paid.cents, 0), coalesce(paid.pending, 0)
    FROM drivers LEFT JOIN LATERAL (
        SELECT sum(amount_cents - fee_cents) FILTER (WHERE payouts.status = 'completed') AS cents,
               count(*) FILTER (WHERE payouts.status IN ('validated', 'queued', 'processing')) AS pending
        FROM payouts WHERE payouts.driver_id = drivers.id
    ) AS paid ON true
    WHERE wallet_id = :wallet_id AND deleted_at IS NULL
"""


def get(connection: sa.Connection, wallet_id: uuid.UUID, driver_id: uuid.UUID) -> DriverRow | None:
    """One driver of the wallet; None if it has none by that id."""
    row = connection.execute(
        sa.text(f"{_SELECT} AND id = :id"), {"wallet_id": wallet_id, "id": driver_id}
    ).one_or_none()
    return None if row is None else _row(row)


def page(
    connection: sa.Connection, wallet_id: uuid.UUID, *, number: int, size: int, status: str | None = None
) -> tuple[list[DriverRow], int]:
    """Page `number` (from 1) of the wallet's drivers, newest first, and how many there are in all."""
    values = {"wallet_id": wallet_id, "status": status, "size": size, "skipped": (number - 1) * size}
    chosen = "" if status is None else " AND drivers.status = :status"
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM drivers WHERE wallet_id = :wallet_id AND deleted_at IS NULL{chosen}"), values
    )
    rows = connection.execute(sa.text(f"{_SELECT}{chosen} ORDER BY id DESC LIMIT :size OFFSET :skipped"), values)
    return [_row(row) for row in rows], total or 0


def _row(row: Sequence[Any]) -> DriverRow:
    return DriverRow._make([*row[:9], int(row[9]), int(row[10])])
