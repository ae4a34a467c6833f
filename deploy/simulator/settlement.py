"""What becomes of a payment? created → validated → queued → processing → sent → completed, and the other endings."""

from typing import Any

from deploy.simulator.balance import Balances
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import UNSETTLED, Batch, Payment, StatusChange
from deploy.simulator.faults import fault_argument
from deploy.simulator.options import Options
from deploy.simulator.time_and_ids import format_time, now_seconds
from deploy.simulator.timer import Timer
from deploy.simulator.webhooks import Webhooks

# At which part of the rail's delay a payment comes to which state.
STATUS_SCHEDULE = (("validated", 0.1), ("queued", 0.1), ("processing", 0.2), ("sent", 0.6), ("completed", 1.0))
STATUSES = ("created", *(status for status, _ in STATUS_SCHEDULE))

# A state that would last shorter than this gets no wake-up of its own: it is passed on the way to the next one.
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
    """Moves payments along, with their money, their batch and their events."""

    def __init__(
        self, options: Options, record: DocumentStore, timer: Timer, balances: Balances, webhooks: Webhooks
    ) -> None:
        self._options = options
        self._record = record
        self._timer = timer
        self._balances = balances
        self._webhooks = webhooks

    def start(self) -> None:
        for payment in self._record.load_due(Payment):
            self._timer.at(payment.due_at or 0, self._advance, payment.id)

    def begin(self, payment: Payment) -> None:
        """Locks the money and sets the payment off. The caller has made sure that the balance covers it."""
        self._balances.lock(payment.mode, payment.amount_cents, payment.id)
        payment.started_at = now_seconds()
        self._wait_for_next(payment)

    def complete(self, payment: Payment) -> None:
        self._move(payment, "completed")
        self._balances.settle(payment.mode, payment.amount_cents, payment.id)
        if fault_argument(payment.faults, "return") is None:
            self._end(payment)
        else:
            self._wait_until(payment, now_seconds() + self._options.return_seconds)
            self._close_in_batch(payment)
            if not _reorders(payment):
                self._tell(payment, "completed")

    def fail(self, payment: Payment, code: str) -> None:
        self._set_failure(payment, code)
        self._move(payment, "failed")
        self._balances.unlock(payment.mode, payment.amount_cents, payment.id)
        self._end(payment)

    def give_back(self, payment: Payment, code: str) -> None:
        """The bank returns a payment, days after it said yes."""
        was_completed = payment.status == "completed"
        if not was_completed:
            self._balances.settle(payment.mode, payment.amount_cents, payment.id)
        self._set_failure(payment, code)
        self._move(payment, "returned")
        self._balances.credit(payment.mode, payment.amount_cents, payment.id)
        self._end(payment, in_batch=not was_completed)

    def cancel(self, payment: Payment, *, was_begun: bool) -> None:
        self._move(payment, "canceled")
        if was_begun:
            self._balances.unlock(payment.mode, payment.amount_cents, payment.id)
        self._close_in_batch(payment)

    def created(self, payment: Payment) -> None:
        self._record.keep(payment)
        if not _reorders(payment):
            self._tell(payment, "created")

    def send_batch_event(self, batch: Batch, kind: str) -> None:
        data = {
            "batchId": batch.id,
            "status": batch.status,
            "paymentCount": batch.payment_count,
            "totalAmount": batch.total_cents,
        }
        self._webhooks.emit(batch.mode, kind, batch.id, data)

    def _advance(self, payment_id: str) -> None:
        payment = self._record.get(Payment, payment_id)
        # A payment that was canceled, failed or completed by hand meanwhile leaves its old turn in the timer.
        if payment is None or payment.due_at is None or payment.due_at > now_seconds():
            return
        if payment.status == "completed":
            self.give_back(payment, fault_argument(payment.faults, "return") or "R01")
            return
        self._pass_states(payment)

    def _pass_states(self, payment: Payment) -> None:
        """Moves a payment to where it should be by now."""
        now, delay_seconds = now_seconds(), self._options.settle_seconds(payment.rail)
        for status, part in STATUS_SCHEDULE[STATUSES.index(payment.status) :]:
            if payment.started_at + part * delay_seconds > now:
                break
            failure = self._planned_failure(payment) if status == "completed" else None
            if failure is not None:
                self.fail(payment, failure)
                return
            if status == "completed":
                self.complete(payment)
                return
            self._move(payment, status)
            if status == "processing":
                self._tell_processing(payment)
                if fault_argument(payment.faults, "stuck") is not None:
                    return
        self._wait_for_next(payment)

    def _planned_failure(self, payment: Payment) -> str | None:
        """The nth `fail` is for the nth try; a try beyond the last one succeeds."""
        codes = [fault.partition(":")[2] for fault in payment.faults if fault.startswith("fail:")]
        return codes[payment.retries] if payment.retries < len(codes) else None

    def _wait_for_next(self, payment: Payment) -> None:
        delay_seconds = self._options.settle_seconds(payment.rail)
        soon = now_seconds() + STATUS_SECONDS_MIN
        for _, part in STATUS_SCHEDULE[STATUSES.index(payment.status) :]:
            due_at = payment.started_at + part * delay_seconds
            if due_at >= soon:
                break
        self._wait_until(payment, due_at)

    def _wait_until(self, payment: Payment, due_at: float) -> None:
        payment.due_at = due_at
        self._record.keep(payment)
        self._timer.at(due_at, self._advance, payment.id)

    def _set_failure(self, payment: Payment, code: str) -> None:
        payment.failure_code = code
        payment.failure_reason = FAILURE_REASONS.get(code, "Rejected by the receiving bank")

    def _move(self, payment: Payment, status: str) -> None:
        payment.status, payment.due_at = status, None
        payment.updated_at = format_time(now_seconds())
        payment.history.append(StatusChange(status, payment.updated_at))
        self._record.keep(payment)

    def _end(self, payment: Payment, *, in_batch: bool = True) -> None:
        self._tell(payment, payment.status)
        unplanned_return = payment.status == "returned" and fault_argument(payment.faults, "return") is None
        if _reorders(payment) and not unplanned_return:
            for status in ("completed", "processing", "created"):
                if status != payment.status and any(stage.status == status for stage in payment.history):
                    self._tell(payment, status)
        if in_batch:
            self._close_in_batch(payment)

    def _close_in_batch(self, payment: Payment) -> None:
        batch = None if payment.batch_id is None else self._record.get(Batch, payment.batch_id)
        if batch is None or batch.open_count == 0:
            return
        batch.open_count -= 1
        batch.failed_count += payment.status != "completed"
        if batch.open_count == 0 and not batch.deleted:
            batch.status = "failed" if batch.failed_count == batch.payment_count else "completed"
            self.send_batch_event(batch, f"batch.{batch.status}")
        self._record.keep(batch)

    def _tell_processing(self, payment: Payment) -> None:
        if fault_argument(payment.faults, "forged_webhook") is not None:
            data = _data(payment, "failed") | {"failureCode": "BANK_REJECTED", "failureReason": "Account closed"}
            self._webhooks.emit(payment.mode, "payment.failed", payment.id, data, forged=True)
        if not _reorders(payment):
            self._tell(payment, "processing")

    def _tell(self, payment: Payment, status: str) -> None:
        if fault_argument(payment.faults, "lost_webhook") is not None:
            self._webhooks.count_lost()
            return
        data = _data(payment, status)
        if status in ("failed", "returned"):
            data |= {"failureCode": payment.failure_code, "failureReason": payment.failure_reason}
        at = next((stage.at for stage in reversed(payment.history) if stage.status == status), None)
        self._webhooks.emit(
            payment.mode,
            f"payment.{status}",
            payment.id,
            data,
            delay_seconds=float(fault_argument(payment.faults, "late_webhook") or 0),
            copies=1 if fault_argument(payment.faults, "duplicate_webhook") is None else 2,
            at=at,
        )


def _data(payment: Payment, status: str) -> dict[str, Any]:
    return {"paymentId": payment.id, "amount": payment.amount_cents, "status": status}


def _reorders(payment: Payment) -> bool:
    # A retry's predecessors were told already.
    return fault_argument(payment.faults, "reorder_webhooks") is not None and payment.retries == 0


def is_unsettled(payment: Payment) -> bool:
    return payment.status in UNSETTLED
