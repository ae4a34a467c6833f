"""Drivers: registering them, making them known to the provider, reading them."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from shared.clock import rfc3339
from shared.errors import Conflict
from shared.ids import DRIVER, new_id, show
from shared.paystream.outcomes import Accepted, Outcome, Rejected, Throttled, Unknown, backoff_seconds
from shared.paystream.wire import (
    Call,
    PaymentMethod,
    Recipient,
    UnexpectedAnswer,
    payment_methods_call,
    read,
    recipient_call,
)

logger = structlog.get_logger(__name__)

VERIFICATION_FIRST_SECONDS = 0.3
VERIFICATION_MOST_SECONDS = 3600.0
"""How soon, and how seldom at the last, the provider is asked whether a driver is verified."""


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


class NewDriver(NamedTuple):
    """A driver to register."""

    ovn_driver_id: str
    name: str
    email: str
    phone: str | None


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


def register(
    connection: sa.Connection, wallet_id: uuid.UUID, driver: NewDriver, now: datetime, *, grace: timedelta
) -> DriverRow:
    """Registers a driver as `invited`; a worker then makes him known to the provider.

    Raises:
        Conflict: the wallet has a driver by that `ovnDriverId` already.
    """
    driver_id = new_id()
    added = connection.scalar(
        sa.text("""
            INSERT INTO drivers (id, wallet_id, ovn_driver_id, name, email, phone, status, kyc_status,
                                 created_at, updated_at, next_action_at)
            VALUES (:id, :wallet_id, :ovn_driver_id, :name, :email, :phone, 'invited', 'pending', :now, :now, :due)
            ON CONFLICT (wallet_id, ovn_driver_id) WHERE deleted_at IS NULL DO NOTHING RETURNING id
        """),
        {"id": driver_id, "wallet_id": wallet_id, "now": now, "due": now + grace, **driver._asdict()},
    )
    if added is None:
        existing = connection.scalar(
            sa.text(
                "SELECT id FROM drivers WHERE wallet_id = :wallet_id AND ovn_driver_id = :ovn_driver_id "
                "AND deleted_at IS NULL"
            ),
            {"wallet_id": wallet_id, "ovn_driver_id": driver.ovn_driver_id},
        )
        raise Conflict(
            f"A driver with ovnDriverId {driver.ovn_driver_id} exists already",
            code="DRIVER_EXISTS",
            field="ovnDriverId",
            driverId=show(DRIVER, existing) if existing else None,
        )
    return DriverRow(driver_id, *driver, "invited", "pending", None, now, 0, 0)


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


class HeldDriver(NamedTuple):
    """A driver whose way to the provider this worker holds."""

    id: uuid.UUID
    mode: str
    ovn_driver_id: str
    name: str
    email: str
    recipient_id: str | None
    attempts: int
    token: uuid.UUID

    def call(self) -> Call:
        """The next question to the provider: to take him on, or whether he is verified."""
        if self.recipient_id is None:
            return recipient_call(self.mode, self.id, self.ovn_driver_id, self.name, self.email)
        return payment_methods_call(self.mode, self.recipient_id)


def claim(connection: sa.Connection, driver_ids: Sequence[uuid.UUID], *, lease_seconds: float) -> list[HeldDriver]:
    """Takes the drivers that still wait for the provider and that nobody holds."""
    rows = connection.execute(
        sa.text("""
            WITH free AS (
                SELECT id FROM drivers WHERE id = ANY(:ids) AND next_action_at IS NOT NULL
                      AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE drivers SET lease_token = :token, attempts = attempts + 1,
                lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
                next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds)
            FROM free, wallets WHERE drivers.id = free.id AND wallets.id = drivers.wallet_id
            RETURNING drivers.id, wallets.mode, ovn_driver_id, name, email, recipient_id, attempts, lease_token
        """),
        {"ids": list(driver_ids), "token": uuid.uuid4(), "lease_seconds": lease_seconds},
    )
    return [HeldDriver(*row) for row in rows]


def record(connection: sa.Connection, held: HeldDriver, outcome: Outcome, now: datetime) -> None:
    """Records what the provider said of a driver; nothing, if the lease is no longer ours."""
    changes: dict[str, Any] = {"error": None, "attempts": held.attempts}
    if isinstance(outcome, Accepted):
        try:
            changes |= _progress(held, outcome.data, now)
        except UnexpectedAnswer as error:
            outcome = Unknown(str(error))
    if isinstance(outcome, Rejected):
        changes |= {"error": f"{outcome.code}: {outcome.message}", "due": None}
        logger.warning("driver.refused", driver=show(DRIVER, held.id), code=outcome.code)
    elif isinstance(outcome, Throttled):
        changes["due"] = now + timedelta(seconds=outcome.retry_after_seconds)
    elif isinstance(outcome, Unknown):
        changes |= {"due": now + timedelta(seconds=backoff_seconds(held.attempts)), "error": outcome.reason}
    connection.execute(
        sa.text("""
            UPDATE drivers SET lease_token = NULL, lease_expires_at = NULL, next_action_at = :due,
                attempts = :attempts, last_error = :error, recipient_id = coalesce(recipient_id, :recipient_id),
                status = CASE WHEN status = 'inactive' THEN status ELSE coalesce(:status, status) END,
                kyc_status = coalesce(:kyc_status, kyc_status), updated_at = :now
            WHERE id = :id AND lease_token = :token
        """),
        {"recipient_id": None, "status": None, "kyc_status": None}
        | changes
        | {"id": held.id, "token": held.token, "now": now},
    )


def _progress(held: HeldDriver, data: object, now: datetime) -> dict[str, Any]:
    """What an answer changes: invited → pending with the recipient's id, pending → active once verified."""
    soon = now + timedelta(seconds=VERIFICATION_FIRST_SECONDS)
    if held.recipient_id is None:
        return {"recipient_id": read(data, Recipient).id, "status": "pending", "due": soon, "attempts": 0}
    methods = {method.status for method in read(data, list[PaymentMethod])}
    if "verified" in methods:
        return {"status": "active", "kyc_status": "verified", "due": None, "attempts": 0}
    if "rejected" in methods:
        return {"kyc_status": "rejected", "due": None, "attempts": 0}
    wait = backoff_seconds(
        held.attempts, first_seconds=VERIFICATION_FIRST_SECONDS, most_seconds=VERIFICATION_MOST_SECONDS
    )
    return {"due": now + timedelta(seconds=wait)}
