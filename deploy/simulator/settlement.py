"""Settlement: moves payments through their statuses, by a timer or by the control endpoints."""

from typing import Any

from deploy.simulator.balance import Balances
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import UNSETTLED, Batch, Payment, StatusChange
from deploy.simulator.faults import fault_argument
from deploy.simulator.options import Options
from deploy.simulator.time_and_ids import format_time, now_seconds
from deploy.simulator.timer import Timer
from deploy.simulator.webhooks import DeliveryOptions, Webhooks

# Fraction of the rail's delay after which a payment gets each status.
STATUS_SCHEDULE = (("validated", 0.1), ("queued", 0.1), ("processing", 0.2), ("sent", 0.6), ("completed", 1.0))
STATUSES = ("created", *(status for status, _ in STATUS_SCHEDULE))

# A status that would last shorter has no timer of its own: it is set together with the next one.
STATUS_SECONDS_MIN = 0.15

FAILURE_REASONS = {
    "BANK_REJECTED": "Account closed",
    "VALIDATION_ERROR": "Account details could not be validated",
    "INSUFFICIENT_BALANCE": "Insufficient balance",
    "INVALID_RECIPIENT": "Recipient can no longer be paid",
    "PAYMENT_METHOD_NOT_VERIFIED": "Payment method is not verified",
    "RAIL_NOT_AVAILABLE": "Rail does not reach the recipient's bank",
    "RAIL_UNAVAILABLE": "Rail is temporarily unavailable",
    "COMPLIANCE_HOLD": "Held for compliance review",
    "R01": "Insufficient funds",
    "R02": "Account closed",
    "R03": "No account or unable to locate account",
    "R04": "Invalid account number",
    "R08": "Payment stopped",
    "R16": "Account frozen",
    "R20": "Non-transaction account",
    "R29": "Corporate customer advises not authorized",
}


class Settlement:
    """Changes payments together with their money, batch and events."""

    def __init__(
        self, options: Options, store: DocumentStore, timer: Timer, balances: Balances, webhooks: Webhooks
    ) -> None:
        self._options = options
        self._store = store
        self._timer = timer
        self._balances = balances
        self._webhooks = webhooks

    def start(self) -> None:
        for payment in self._store.load_due(Payment):
            self._timer.at(payment.due_at or 0, self._advance, payment.id)

    def start_payment(self, payment: Payment) -> None:
        """Lock the money and start the payment; the caller has checked the balance."""
        self._balances.lock(payment.mode, payment.amount_cents, payment.id)
        payment.started_at = now_seconds()
        self._schedule_next(payment)

    def complete(self, payment: Payment) -> None:
        self._set_status(payment, "completed")
        self._balances.settle(payment.mode, payment.amount_cents, payment.id)
        if fault_argument(payment.faults, "return") is None:
            self._finish(payment)
        else:
            self._schedule(payment, now_seconds() + self._options.return_seconds)
            self._count_in_batch(payment)
            if not _is_reordered(payment):
                self._send_event(payment, "completed")

    def fail(self, payment: Payment, code: str) -> None:
        self._set_failure(payment, code)
        self._set_status(payment, "failed")
        self._balances.unlock(payment.mode, payment.amount_cents, payment.id)
        self._finish(payment)

    def return_payment(self, payment: Payment, code: str) -> None:
        """Return a payment, as the bank does days after it accepted it."""
        was_completed = payment.status == "completed"
        if not was_completed:
            self._balances.settle(payment.mode, payment.amount_cents, payment.id)
        self._set_failure(payment, code)
        self._set_status(payment, "returned")
        self._balances.credit(payment.mode, payment.amount_cents, payment.id)
        self._finish(payment, in_batch=not was_completed)

    def cancel(self, payment: Payment, *, was_started: bool) -> None:
        self._set_status(payment, "canceled")
        if was_started:
            self._balances.unlock(payment.mode, payment.amount_cents, payment.id)
        self._count_in_batch(payment)

    def save_created(self, payment: Payment) -> None:
        self._store.save(payment)
        if not _is_reordered(payment):
            self._send_event(payment, "created")

    def send_batch_event(self, batch: Batch, kind: str) -> None:
        data = {
            "batchId": batch.id,
            "status": batch.status,
            "paymentCount": batch.payment_count,
            "totalAmount": batch.total_cents,
        }
        self._webhooks.emit(batch.mode, kind, batch.id, data)

    def _advance(self, payment_id: str) -> None:
        payment = self._store.get(Payment, payment_id)
        # The timer keeps entries of payments that were ended by hand.
        if payment is None or payment.due_at is None or payment.due_at > now_seconds():
            return
        if payment.status == "completed":
            self.return_payment(payment, fault_argument(payment.faults, "return") or "R01")
            return
        self._catch_up(payment)

    def _catch_up(self, payment: Payment) -> None:
        """Set every status that is due by now."""
        now, delay_seconds = now_seconds(), self._options.settle_seconds(payment.rail)
        for status, fraction in STATUS_SCHEDULE[STATUSES.index(payment.status) :]:
            if payment.started_at + fraction * delay_seconds > now:
                break
            failure = self._planned_failure(payment) if status == "completed" else None
            if failure is not None:
                self.fail(payment, failure)
                return
            if status == "completed":
                self.complete(payment)
                return
            self._set_status(payment, status)
            if status == "processing":
                self._send_processing_event(payment)
                if fault_argument(payment.faults, "stuck") is not None:
                    return
        self._schedule_next(payment)

    def _planned_failure(self, payment: Payment) -> str | None:
        """Return the code of the nth `fail` for the nth attempt; attempts beyond the last one succeed."""
        codes = [fault.partition(":")[2] for fault in payment.faults if fault.startswith("fail:")]
        return codes[payment.retries] if payment.retries < len(codes) else None

    def _schedule_next(self, payment: Payment) -> None:
        delay_seconds = self._options.settle_seconds(payment.rail)
        soon = now_seconds() + STATUS_SECONDS_MIN
        for _, fraction in STATUS_SCHEDULE[STATUSES.index(payment.status) :]:
            due_at = payment.started_at + fraction * delay_seconds
            if due_at >= soon:
                break
        self._schedule(payment, due_at)

    def _schedule(self, payment: Payment, due_at: float) -> None:
        payment.due_at = due_at
        self._store.save(payment)
        self._timer.at(due_at, self._advance, payment.id)

    def _set_failure(self, payment: Payment, code: str) -> None:
        payment.failure_code = code
        payment.failure_reason = FAILURE_REASONS.get(code, "Rejected by the receiving bank")

    def _set_status(self, payment: Payment, status: str) -> None:
        payment.status, payment.due_at = status, None
        payment.updated_at = format_time(now_seconds())
        payment.history.append(StatusChange(status, payment.updated_at))
        self._store.save(payment)

    def _finish(self, payment: Payment, *, in_batch: bool = True) -> None:
        self._send_event(payment, payment.status)
        unplanned_return = payment.status == "returned" and fault_argument(payment.faults, "return") is None
        if _is_reordered(payment) and not unplanned_return:
            for status in ("completed", "processing", "created"):
                if status != payment.status and any(stage.status == status for stage in payment.history):
                    self._send_event(payment, status)
        if in_batch:
            self._count_in_batch(payment)

    def _count_in_batch(self, payment: Payment) -> None:
        batch = None if payment.batch_id is None else self._store.get(Batch, payment.batch_id)
        if batch is None or batch.open_count == 0:
            return
        batch.open_count -= 1
        batch.failed_count += payment.status != "completed"
        if batch.open_count == 0 and not batch.deleted:
            batch.status = "failed" if batch.failed_count == batch.payment_count else "completed"
            self.send_batch_event(batch, f"batch.{batch.status}")
        self._store.save(batch)

    def _send_processing_event(self, payment: Payment) -> None:
        if fault_argument(payment.faults, "forged_webhook") is not None:
            data = _data(payment, "failed") | {"failureCode": "BANK_REJECTED", "failureReason": "Account closed"}
            self._webhooks.emit(payment.mode, "payment.failed", payment.id, data, DeliveryOptions(forged=True))
        if not _is_reordered(payment):
            self._send_event(payment, "processing")

    def _send_event(self, payment: Payment, status: str) -> None:
        if fault_argument(payment.faults, "lost_webhook") is not None:
            self._webhooks.count_lost()
            return
        data = _data(payment, status)
        if status in ("failed", "returned"):
            data |= {"failureCode": payment.failure_code, "failureReason": payment.failure_reason}
        at = next((stage.at for stage in reversed(payment.history) if stage.status == status), None)
        options = DeliveryOptions(
            delay_seconds=float(fault_argument(payment.faults, "late_webhook") or 0),
            copies=1 if fault_argument(payment.faults, "duplicate_webhook") is None else 2,
            at=at,
        )
        self._webhooks.emit(payment.mode, f"payment.{status}", payment.id, data, options)


def _data(payment: Payment, status: str) -> dict[str, Any]:
    return {"paymentId": payment.id, "amount": payment.amount_cents, "status": status}


def _is_reordered(payment: Payment) -> bool:
    # A retry's earlier events were sent already.
    return fault_argument(payment.faults, "reorder_webhooks") is not None and payment.retries == 0


def is_unsettled(payment: Payment) -> bool:
    return payment.status in UNSETTLED
