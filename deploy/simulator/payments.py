"""Payments: create, look up, cancel, retry."""

from typing import Any

from deploy.simulator.balance import Balances
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import CANCELABLE, Mode, Payment, Rail, StatusChange
from deploy.simulator.errors import conflict, not_found, rejected
from deploy.simulator.faults import FaultRules
from deploy.simulator.options import Options
from deploy.simulator.recipients import Recipients
from deploy.simulator.request_bodies import NewPayment
from deploy.simulator.settlement import Settlement
from deploy.simulator.time_and_ids import new_id, now_seconds, now_text

RETRIES_MAX = 3
NON_RETRYABLE_CODES = ("COMPLIANCE_HOLD", "INVALID_RECIPIENT", "VALIDATION_ERROR")


def requested_rail(body: NewPayment) -> Rail:
    if body.rail is None:
        return "rtp" if body.urgency else "standard"
    return "rtp" if body.rail == "instant" else body.rail


class Payments:
    """The payment calls. None awaits: each is one step, committed as a whole."""

    def __init__(
        self,
        options: Options,
        store: DocumentStore,
        balances: Balances,
        recipients: Recipients,
        settlement: Settlement,
        faults: FaultRules,
    ) -> None:
        self._options = options
        self._store = store
        self._balances = balances
        self._recipients = recipients
        self._settlement = settlement
        self._faults = faults

    def create(self, mode: Mode, body: NewPayment, key: str | None) -> Payment:
        """Create a payment, or raise INVALID_RECIPIENT, PAYMENT_METHOD_NOT_VERIFIED or INSUFFICIENT_BALANCE."""
        self._recipients.require_payable(mode, body.recipient_id, "recipientId")
        self._balances.require_available(mode, body.amount)
        payment = self.build(mode, body, key, endpoint="payments", batch_id=None)
        self._settlement.start_payment(payment)
        self._settlement.save_created(payment)
        return payment

    def build(self, mode: Mode, body: NewPayment, key: str | None, *, endpoint: str, batch_id: str | None) -> Payment:
        """Return a payment that is neither started nor stored."""
        created_at = now_text()
        return Payment(
            id=new_id("pay"),
            mode=mode,
            recipient_id=body.recipient_id,
            amount_cents=body.amount,
            rail=requested_rail(body),
            description=body.description,
            metadata=body.metadata,
            batch_id=batch_id,
            idempotency_key=key,
            created_at=created_at,
            updated_at=created_at,
            history=[StatusChange("created", created_at)],
            faults=self._faults.payment_faults(endpoint, mode, body),
        )

    def get(self, mode: Mode, payment_id: str) -> Payment:
        payment = self._store.get(Payment, payment_id)
        if payment is None or payment.mode != mode:
            raise not_found("payment")
        return payment

    def cancel(self, mode: Mode, payment_id: str) -> Payment:
        payment = self.get(mode, payment_id)
        if payment.status not in CANCELABLE:
            message = f"A payment that is {payment.status} can't be canceled."
            raise conflict("INVALID_STATE", message, status=payment.status)
        self._settlement.cancel(payment, was_started=payment.started_at > 0)
        return payment

    def retry(self, mode: Mode, payment_id: str) -> Payment:
        """Send a failed payment again: at most 3 times, with a pause between, and not after every failure."""
        payment = self.get(mode, payment_id)
        details: dict[str, Any] = {"status": payment.status, "retries": payment.retries}
        if payment.status != "failed":
            raise conflict("INVALID_STATE", "Only a failed payment can be retried.", **details)
        if payment.failure_code in NON_RETRYABLE_CODES:
            message = "This failure can't be retried."
            raise rejected("RETRY_NOT_ALLOWED", message, failureCode=payment.failure_code)
        if payment.retries >= RETRIES_MAX:
            raise rejected("RETRY_LIMIT_REACHED", f"A payment can be retried at most {RETRIES_MAX} times.", **details)
        now = now_seconds()
        if payment.retried_at is not None and now - payment.retried_at < self._options.retry_gap_seconds:
            raise conflict("RETRY_TOO_SOON", "The last retry is too recent.", **details)
        self._balances.require_available(mode, payment.amount_cents)
        payment.retries += 1
        payment.retried_at = now
        payment.failure_code = payment.failure_reason = None
        payment.status = "created"
        payment.updated_at = now_text()
        payment.history.append(StatusChange("created", payment.updated_at))
        self._settlement.start_payment(payment)
        return payment
