"""Recipients: create drivers at the provider, send their bank details, and poll until they are verified."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from shared.drivers.bank_details import decrypt_details, details_idempotency_key
from shared.drivers.queries import load_driver
from shared.drivers.rows import driver_payload
from shared.events import customer_events
from shared.events.customer_events import Event, EventType
from shared.platform.encryption import Pepper
from shared.platform.ids import DRIVER, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown, backoff_seconds
from shared.provider.wire import (
    PaymentMethodResource,
    ProviderCall,
    RecipientResource,
    UnexpectedResponse,
    add_payment_method_call,
    create_recipient_call,
    decode_resource,
    list_payment_methods_call,
)

logger = structlog.get_logger(__name__)

VERIFICATION_POLL_MAX_SECONDS: Final = 3600.0
"""Longest interval between two polls for a driver's verification."""


class LeasedDriver(NamedTuple):
    """A driver whose registration this worker has leased."""

    id: uuid.UUID
    mode: str
    name: str
    email: str
    recipient_id: str | None
    attempts: int
    token: uuid.UUID
    sealed_details: bytes | None

    def call(self, pepper: Pepper) -> ProviderCall:
        """Return the next call: create the recipient, add the bank account, or list the payment methods.

        Bank details wait for the recipient, because the body sent under a key must not change.
        """
        if self.recipient_id is None:
            return create_recipient_call(self.mode, self.id, self.name, self.email)
        if self.sealed_details is None:
            return list_payment_methods_call(self.mode, self.recipient_id)
        details: dict[str, Any] = msgspec.to_builtins(decrypt_details(self.sealed_details, pepper))
        account = details["bankAccount"]
        account["accountHolderName"] = account.get("accountHolderName") or self.name
        return add_payment_method_call(
            self.mode, self.recipient_id, details, details_idempotency_key(self.id, self.sealed_details, self.name)
        )

    @property
    def sends_details(self) -> bool:
        """Whether the next call sends bank details."""
        return self.recipient_id is not None and self.sealed_details is not None

    def last4(self, pepper: Pepper) -> str | None:
        """Return the last four digits of the account number to send, if any."""
        return None if self.sealed_details is None else decrypt_details(self.sealed_details, pepper).bank_account.last4


# Leases due drivers; locks their rows, skipping locked ones.
_CLAIM_DRIVERS: Final = sa.text("""
    WITH free AS (
        SELECT id FROM drivers WHERE id = ANY(:ids) AND next_action_at IS NOT NULL
              AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE drivers SET lease_token = :token, attempts = attempts + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM free, wallets WHERE drivers.id = free.id AND wallets.id = drivers.wallet_id
    RETURNING drivers.id, wallets.mode, name, email, recipient_id, attempts, lease_token, sealed_details
""")


def claim_drivers(
    connection: sa.Connection, driver_ids: Sequence[uuid.UUID], *, lease_seconds: float
) -> list[LeasedDriver]:
    """Lease the drivers that wait for the provider and are not leased."""
    values = {"ids": list(driver_ids), "token": uuid.uuid4(), "lease_seconds": lease_seconds}
    return [LeasedDriver(*row) for row in connection.execute(_CLAIM_DRIVERS, values)]


# Ends the lease and applies the outcome, if the lease is still ours; locks the driver. Details that the customer has
# replaced since the claim are kept and due at once.
_RECORD_OUTCOME: Final = sa.text("""
    WITH before AS (SELECT id, kyc_status FROM drivers WHERE id = :id AND lease_token = :token FOR UPDATE)
    UPDATE drivers SET lease_token = NULL, lease_expires_at = NULL,
        next_action_at = CASE WHEN sealed_details IS DISTINCT FROM :sealed THEN :now ELSE :due END,
        sealed_details = CASE WHEN :details_sent AND sealed_details = :sealed THEN NULL ELSE sealed_details END,
        bank_account_last4 = coalesce(:last4, bank_account_last4),
        attempts = :attempts,
        last_error = CASE WHEN :keep_error THEN last_error ELSE :error END,
        recipient_id = coalesce(recipient_id, :recipient_id),
        status = CASE WHEN status = 'inactive' THEN status ELSE coalesce(:status, status) END,
        kyc_status = coalesce(:kyc_status, drivers.kyc_status), updated_at = :now
    FROM before WHERE drivers.id = before.id
    RETURNING drivers.id, wallet_id,
              drivers.kyc_status = 'verified' AND before.kyc_status <> 'verified' AS became_verified
""")

_UNCHANGED: Final[dict[str, Any]] = {
    "recipient_id": None,
    "status": None,
    "kyc_status": None,
    "last4": None,
    "details_sent": False,
    "keep_error": False,
}


def record_recipient_outcome(
    connection: sa.Connection,
    leased: LeasedDriver,
    outcome: CallOutcome,
    now: datetime,
    *,
    pepper: Pepper,
    first_seconds: float,
) -> None:
    """Record the outcome of a driver's call and write `driver.verified`; do nothing if the lease is no longer ours.

    `first_seconds` is the first interval of polling for the verification; it doubles each time.
    """
    changes = _UNCHANGED | _changes(leased, outcome, now, pepper, first_seconds)
    if changes["error"] is not None and leased.sealed_details is not None:
        changes["error"] = decrypt_details(leased.sealed_details, pepper).redact(changes["error"])
    updated = connection.execute(
        _RECORD_OUTCOME,
        changes | {"id": leased.id, "token": leased.token, "now": now, "sealed": leased.sealed_details},
    ).one_or_none()
    if updated is None or not updated.became_verified:
        return
    driver = load_driver(connection, updated.wallet_id, updated.id)
    if driver is not None:
        event = Event(updated.wallet_id, EventType.DRIVER_VERIFIED.value, None, 0, driver_payload(driver))
        customer_events.write_events(connection, [event], now)


def _changes(
    leased: LeasedDriver, outcome: CallOutcome, now: datetime, pepper: Pepper, first_seconds: float
) -> dict[str, Any]:
    changes: dict[str, Any] = {"error": None, "attempts": leased.attempts}
    if isinstance(outcome, Accepted):
        try:
            changes |= _progress(leased, outcome.data, now, first_seconds)
            # The error of a rejected account stays when the earlier accounts are verified again.
            changes["keep_error"] = leased.recipient_id is not None and not leased.sends_details
            if leased.sends_details:
                changes |= {"last4": leased.last4(pepper), "details_sent": True}
        except UnexpectedResponse as error:
            outcome = Unknown(str(error))
    if isinstance(outcome, Rejected) and leased.recipient_id is not None and not leased.sends_details:
        outcome = Unknown(f"the lookup was rejected: {outcome.code}", outcome.message)
    if isinstance(outcome, Rejected):
        # After a rejected account, poll the status of the accounts that the provider has.
        changes |= {
            "error": f"{outcome.code}: {outcome.message}",
            "due": now + timedelta(seconds=first_seconds) if leased.sends_details else None,
            "details_sent": leased.sends_details,
        }
        logger.warning("driver.refused", driver=public_id(DRIVER, leased.id), code=outcome.code)
    elif isinstance(outcome, Throttled):
        changes |= {"due": now + timedelta(seconds=outcome.retry_after_seconds), "keep_error": True}
    elif isinstance(outcome, Unknown):
        changes |= {"due": now + timedelta(seconds=backoff_seconds(leased.attempts)), "error": outcome.explanation}
    return changes


# invited → pending with the recipient id, pending → active once verified.
def _progress(leased: LeasedDriver, data: object, now: datetime, first_seconds: float) -> dict[str, Any]:
    soon = now + timedelta(seconds=first_seconds)
    if leased.recipient_id is None:
        return {
            "recipient_id": decode_resource(data, RecipientResource).id,
            "status": "pending",
            "due": soon,
            "attempts": 0,
        }
    if leased.sends_details:
        # A new account must be verified before the driver can be paid again.
        state = decode_resource(data, PaymentMethodResource).status
    else:
        methods = decode_resource(data, list[PaymentMethodResource])
        paid_by = [method for method in methods if method.is_default] or methods
        states = {method.status for method in paid_by}
        state = next((state for state in ("verified", "rejected") if state in states), "pending")
    if state == "verified":
        return {"status": "active", "kyc_status": "verified", "due": None, "attempts": 0}
    if state == "rejected":
        return {"kyc_status": "rejected", "due": None, "attempts": 0}
    if leased.sends_details:
        return {"status": "pending", "kyc_status": "pending", "due": soon, "attempts": 0}
    wait = backoff_seconds(leased.attempts, first_seconds=first_seconds, max_seconds=VERIFICATION_POLL_MAX_SECONDS)
    return {"due": now + timedelta(seconds=wait)}
