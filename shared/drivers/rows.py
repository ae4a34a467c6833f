"""Row type of drivers, and their API format."""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.platform.clock import format_rfc3339
from shared.platform.errors import NotFound
from shared.platform.ids import DRIVER, echo_id, public_id


class DriverRow(NamedTuple):
    """A driver, with totals of their payouts; see `shared.schema.tables.drivers.Driver`."""

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
    """Net amount of completed payouts: what the driver has received."""
    pending_payouts: int
    """Payouts that have not ended."""


DRIVER_COLUMNS: Final = ", ".join(DriverRow._fields)


def driver_payload(row: DriverRow) -> dict[str, Any]:
    """Return the driver in the API's format (reference: Drivers)."""
    payload: dict[str, Any] = {
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
        payload["registrationError"] = row.last_error
    return payload


def driver_not_found(reference: str) -> NotFound:
    """Return the error for a driver that the wallet does not have."""
    return NotFound(f"No driver {echo_id(DRIVER, reference)}", code="DRIVER_NOT_FOUND")
