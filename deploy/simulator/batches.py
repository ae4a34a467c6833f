"""How are many payments sent together, all or none?"""

from deploy.simulator.balance import Balances
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import Batch, Mode, Payment
from deploy.simulator.errors import conflict, invalid, not_found
from deploy.simulator.payments import Payments
from deploy.simulator.recipients import Recipients
from deploy.simulator.request_bodies import BATCH_CENTS_MAX, NewBatch
from deploy.simulator.settlement import Settlement
from deploy.simulator.time_and_ids import new_id, now_text


class Batches:
    """The batch calls: a batch is created whole, held or processing, and ends with its last payment."""

    def __init__(
        self,
        record: DocumentStore,
        balances: Balances,
        recipients: Recipients,
        settlement: Settlement,
        payments: Payments,
    ) -> None:
        self._record = record
        self._balances = balances
        self._recipients = recipients
        self._settlement = settlement
        self._payments = payments

    def create(self, mode: Mode, body: NewBatch, key: str | None) -> tuple[Batch, list[Payment]]:
        """Checks everything before anything is made; an error's details name the first payment it is about.

        A held batch locks nothing, so its money is asked for at its release.
        """
        total_cents = sum(line.amount for line in body.payments)
        if total_cents > BATCH_CENTS_MAX:
            message = f"A batch's payments come to {BATCH_CENTS_MAX} cents at most, these to {total_cents}."
            raise invalid(message, error_id="BATCH_AMOUNT_TOO_HIGH", field="payments")
        for index, line in enumerate(body.payments):
            self._recipients.require_payable(mode, line.recipient_id, f"payments[{index}].recipientId")
        if not body.hold:
            self._balances.require(mode, total_cents)
        batch = Batch(
            id=new_id("batch"),
            mode=mode,
            name=body.name,
            status="held" if body.hold else "processing",
            payment_count=len(body.payments),
            total_cents=total_cents,
            open_count=len(body.payments),
            created_at=now_text(),
        )
        self._record.keep(batch)
        self._settlement.send_batch_event(batch, "batch.created")
        payments = []
        for subject in body.subjects():
            payment = self._payments.new(mode, subject, key, endpoint="batches", batch_id=batch.id)
            if not body.hold:
                self._settlement.begin(payment)
            self._settlement.created(payment)
            payments.append(payment)
        return batch, payments

    def get(self, mode: Mode, batch_id: str) -> Batch:
        batch = self._record.get(Batch, batch_id)
        if batch is None or batch.mode != mode or batch.deleted:
            raise not_found("batch")
        return batch

    def release(self, mode: Mode, batch_id: str, payments: list[Payment]) -> Batch:
        """Sets a held batch's payments off. Raises INSUFFICIENT_BALANCE, and then none has moved."""
        batch = self._require_waiting(mode, batch_id)
        waiting = [payment for payment in payments if payment.status == "created"]
        self._balances.require(mode, sum(payment.amount_cents for payment in waiting))
        batch.status = "processing" if waiting else "failed"
        for payment in waiting:
            self._settlement.begin(payment)
        self._record.keep(batch)
        self._settlement.send_batch_event(batch, "batch.released")
        return batch

    def delete(self, mode: Mode, batch_id: str, payments: list[Payment]) -> Batch:
        """Takes a held batch back; its payments are canceled."""
        batch = self._require_waiting(mode, batch_id)
        batch.deleted = True
        for payment in payments:
            if payment.status == "created":
                self._settlement.cancel(payment, was_begun=False)
        self._record.keep(batch)
        return batch

    def payments_of(self, batch_id: str) -> list[Payment]:
        """In the order of the request. Reads the record: await `committed()` before."""
        return self._record.find(Payment, "batch_id = ?", (batch_id,), "ORDER BY id")

    def _require_waiting(self, mode: Mode, batch_id: str) -> Batch:
        batch = self.get(mode, batch_id)
        if batch.status != "held":
            message = f"Only a held batch can be released or deleted, and this one is {batch.status}."
            raise conflict("INVALID_STATE", message, status=batch.status)
        return batch
