"""The payout row that every query returns, and its payload in the API and in customer events."""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.platform.clock import format_rfc3339
from shared.platform.ids import BATCH, DRIVER, PAYOUT, public_id

PAYOUT_COLUMNS: Final = (
    "id, wallet_id, driver_id, driver_name, load_id, amount_cents, fee_cents, rail, status, description, "
    "requested_by, batch_id, duplicate_of, duplicate_reason, scenario, sequence, attempt, submission_id, failure_code, "
    "failure_message, requested_at, completed_at, canceled_at"
)
"""The columns of a `PayoutRow`, in its order."""

NON_RETRYABLE_FAILURE_CODES: Final = frozenset({"COMPLIANCE_HOLD", "INVALID_RECIPIENT"})
"""Failures that a retry can't fix."""


class PayoutRow(NamedTuple):
    """A payout with its driver's name; see `shared.schema.tables.payouts.Payout`."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    driver_id: uuid.UUID
    driver_name: str
    load_id: str | None
    amount_cents: int
    fee_cents: int
    rail: str
    status: str
    description: str | None
    requested_by: str | None
    batch_id: uuid.UUID | None
    duplicate_of: uuid.UUID | None
    duplicate_reason: str | None
    scenario: str | None
    sequence: int
    attempt: int
    submission_id: uuid.UUID | None
    failure_code: str | None
    failure_message: str | None
    requested_at: datetime
    completed_at: datetime | None
    canceled_at: datetime | None

    @property
    def net_cents(self) -> int:
        """The amount minus the fee: what the driver receives."""
        return self.amount_cents - self.fee_cents


def payout_payload(row: PayoutRow) -> dict[str, Any]:
    """The payout as the API and customer events show it."""
    payload: dict[str, Any] = {
        "id": public_id(PAYOUT, row.id),
        "loadId": row.load_id,
        "driverId": public_id(DRIVER, row.driver_id),
        "driverName": row.driver_name,
        "amount": row.amount_cents,
        "fee": row.fee_cents,
        "netAmount": row.net_cents,
        "status": row.status,
        "rail": row.rail,
        "description": row.description,
        "batchId": row.batch_id and public_id(BATCH, row.batch_id),
        "attempt": row.attempt,
        "requestedAt": format_rfc3339(row.requested_at),
        "completedAt": row.completed_at and format_rfc3339(row.completed_at),
    }
    if row.duplicate_of is not None:
        payload["warnings"] = [duplicate_warning(row.duplicate_of)]
    if row.canceled_at is not None:
        payload["canceledAt"] = format_rfc3339(row.canceled_at)
    if row.failure_code is not None:
        payload["failure"] = {
            "code": row.failure_code,
            "message": row.failure_message,
            "retryable": row.status == "failed" and row.failure_code not in NON_RETRYABLE_FAILURE_CODES,
        }
    return payload


def duplicate_warning(payout_id: uuid.UUID) -> dict[str, str]:
    """The warning on a payout whose load has an earlier live payout."""
    first = public_id(PAYOUT, payout_id)
    return {
        "code": "DUPLICATE_LOAD",
        "message": f"{first} pays this driver for this load already",
        "payoutId": first,
    }
