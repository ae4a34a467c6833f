"""Recipients: how a driver becomes known to the provider, and verified by its word."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from shared.drivers import rows
from shared.drivers.bank_details import decrypt_details, details_idempotency_key
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

VERIFICATION_POLL_MAX_SECONDS = 3600.0
"""How seldom, at the last, the provider is asked whether a driver is verified."""


class LeasedDriver(NamedTuple):
    """A driver whose way to the provider this worker holds."""

    id: uuid.UUID
    mode: str
    name: str
    email: str
    recipient_id: str | None
    attempts: int
    token: uuid.UUID
    sealed_details: bytes | None

    def call(self, pepper: Pepper) -> ProviderCall:
        """The next question to the provider: to take him on, to take his bank details, or whether he is verified.

        Bank details wait until he is taken on: what goes out under a key must not change, and a first attempt may have.
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
        """Whether the question passes bank details on."""
        return self.recipient_id is not None and self.sealed_details is not None

    def last4(self, pepper: Pepper) -> str | None:
        """The end of the account number that is passed on."""
        return None if self.sealed_details is None else decrypt_details(self.sealed_details, pepper).bank_account.last4


def claim_drivers(
    connection: sa.Connection, driver_ids: Sequence[uuid.UUID], *, lease_seconds: float
) -> list[LeasedDriver]:
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
            RETURNING drivers.id, wallets.mode, name, email, recipient_id, attempts, lease_token, sealed_details
        """),
        {"ids": list(driver_ids), "token": uuid.uuid4(), "lease_seconds": lease_seconds},
    )
    return [LeasedDriver(*row) for row in rows]


def record_recipient_outcome(
    connection: sa.Connection,
    held: LeasedDriver,
    outcome: CallOutcome,
    now: datetime,
    *,
    pepper: Pepper,
    first_seconds: float,
) -> None:
    """Records what the provider said of a driver; nothing, if the lease is no longer ours. Details that the customer
    has replaced meanwhile stay, and are passed on next. `first_seconds` is how soon it is asked whether he is verified;
    twice as long after each time.
    """
    changes: dict[str, Any] = {"error": None, "attempts": held.attempts}
    if isinstance(outcome, Accepted):
        try:
            changes |= _progress(held, outcome.data, now, first_seconds)
            # A refused account is still refused when those that he has are verified again.
            changes["same_error"] = held.recipient_id is not None and not held.sends_details
            if held.sends_details:
                changes |= {"last4": held.last4(pepper), "passed_on": True}
        except UnexpectedResponse as error:
            outcome = Unknown(str(error))
    if isinstance(outcome, Rejected) and held.recipient_id is not None and not held.sends_details:
        outcome = Unknown(f"the question was refused: {outcome.code}", outcome.message)
    if isinstance(outcome, Rejected):
        # A refused account leaves those that the provider has: it is asked about them.
        asked_at = now + timedelta(seconds=first_seconds) if held.sends_details else None
        changes |= {
            "error": f"{outcome.code}: {outcome.message}",
            "due": asked_at,
            "passed_on": held.sends_details,
        }
        logger.warning("driver.refused", driver=public_id(DRIVER, held.id), code=outcome.code)
    elif isinstance(outcome, Throttled):
        changes |= {"due": now + timedelta(seconds=outcome.retry_after_seconds), "same_error": True}
    elif isinstance(outcome, Unknown):
        changes |= {"due": now + timedelta(seconds=backoff_seconds(held.attempts)), "error": outcome.explanation}
    if changes["error"] is not None and held.sealed_details is not None:
        changes["error"] = decrypt_details(held.sealed_details, pepper).redact(changes["error"])
    updated = connection.execute(
        sa.text("""
            WITH before AS (SELECT id, kyc_status FROM drivers WHERE id = :id AND lease_token = :token FOR UPDATE)
            UPDATE drivers SET lease_token = NULL, lease_expires_at = NULL,
                next_action_at = CASE WHEN sealed_details IS DISTINCT FROM :sealed THEN :now ELSE :due END,
                sealed_details = CASE WHEN :passed_on AND sealed_details = :sealed THEN NULL ELSE sealed_details END,
                bank_account_last4 = coalesce(:last4, bank_account_last4),
                attempts = :attempts,
                last_error = CASE WHEN :same_error THEN last_error ELSE :error END,
                recipient_id = coalesce(recipient_id, :recipient_id),
                status = CASE WHEN status = 'inactive' THEN status ELSE coalesce(:status, status) END,
                kyc_status = coalesce(:kyc_status, drivers.kyc_status), updated_at = :now
            FROM before WHERE drivers.id = before.id
            RETURNING drivers.id, wallet_id, drivers.kyc_status = 'verified' AND before.kyc_status <> 'verified' AS news
        """),
        {
            "recipient_id": None,
            "status": None,
            "kyc_status": None,
            "last4": None,
            "passed_on": False,
            "same_error": False,
        }
        | changes
        | {"id": held.id, "token": held.token, "now": now, "sealed": held.sealed_details},
    ).one_or_none()
    driver = (
        rows.load_driver(connection, updated.wallet_id, updated.id) if updated is not None and updated.news else None
    )
    if updated is not None and driver is not None:
        event = Event(updated.wallet_id, EventType.DRIVER_VERIFIED.value, None, 0, rows.driver_payload(driver))
        customer_events.write_events(connection, [event], now)


def _progress(held: LeasedDriver, data: object, now: datetime, first_seconds: float) -> dict[str, Any]:
    """What an answer changes: invited → pending with the recipient's id, pending → active once verified."""
    soon = now + timedelta(seconds=first_seconds)
    if held.recipient_id is None:
        return {
            "recipient_id": decode_resource(data, RecipientResource).id,
            "status": "pending",
            "due": soon,
            "attempts": 0,
        }
    if held.sends_details:
        # A new account has to be verified before he can be paid again.
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
    if held.sends_details:
        return {"status": "pending", "kyc_status": "pending", "due": soon, "attempts": 0}
    wait = backoff_seconds(held.attempts, first_seconds=first_seconds, max_seconds=VERIFICATION_POLL_MAX_SECONDS)
    return {"due": now + timedelta(seconds=wait)}
