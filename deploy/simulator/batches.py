"""Batches: payments sent together, all or none."""

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
    """Creates, releases and deletes batches; a batch ends with its last payment."""

    def __init__(
        self,
        store: DocumentStore,
        balances: Balances,
        recipients: Recipients,
        settlement: Settlement,
        payments: Payments,
    ) -> None:
        self._store = store
        self._balances = balances
        self._recipients = recipients
        self._settlement = settlement
        self._payments = payments

    def create(self, mode: Mode, body: NewBatch, key: str | None) -> tuple[Batch, list[Payment]]:
        """Validate every payment, then create the batch; an error names the first invalid payment.

        A held batch locks no money until its release.
        """
        total_cents = sum(item.amount for item in body.payments)
        if total_cents > BATCH_CENTS_MAX:
            message = f"The payments of a batch are at most {BATCH_CENTS_MAX} cents in total; these are {total_cents}."
            raise invalid(message, error_id="BATCH_AMOUNT_TOO_HIGH", field="payments")
        for index, item in enumerate(body.payments):
            self._recipients.require_payable(mode, item.recipient_id, f"payments[{index}].recipientId")
        if not body.hold:
            self._balances.require_available(mode, total_cents)
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
        self._store.save(batch)
        self._settlement.send_batch_event(batch, "batch.created")
        payments = []
        for subject in body.subjects():
            payment = self._payments.build(mode, subject, key, endpoint="batches", batch_id=batch.id)
            if not body.hold:
                self._settlement.start_payment(payment)
            self._settlement.save_created(payment)
            payments.append(payment)
        return batch, payments

    def get(self, mode: Mode, batch_id: str) -> Batch:
        batch = self._store.get(Batch, batch_id)
        if batch is None or batch.mode != mode or batch.deleted:
            raise not_found("batch")
        return batch

    def release(self, mode: Mode, batch_id: str, payments: list[Payment]) -> Batch:
        """Start a held batch's payments; raise INSUFFICIENT_BALANCE if the balance doesn't cover them all."""
        batch = self._require_held(mode, batch_id)
        waiting = [payment for payment in payments if payment.status == "created"]
        self._balances.require_available(mode, sum(payment.amount_cents for payment in waiting))
        batch.status = "processing" if waiting else "failed"
        for payment in waiting:
            self._settlement.start_payment(payment)
        self._store.save(batch)
        self._settlement.send_batch_event(batch, "batch.released")
        return batch

    def delete(self, mode: Mode, batch_id: str, payments: list[Payment]) -> Batch:
        """Delete a held batch and cancel its payments."""
        batch = self._require_held(mode, batch_id)
        batch.deleted = True
        for payment in payments:
            if payment.status == "created":
                self._settlement.cancel(payment, was_started=False)
        self._store.save(batch)
        return batch

    def payments_of(self, batch_id: str) -> list[Payment]:
        """Return the payments in the order of the request. Await `committed()` before."""
        return self._store.select(Payment, "batch_id = ?", (batch_id,), "ORDER BY id")

    def _require_held(self, mode: Mode, batch_id: str) -> Batch:
        batch = self.get(mode, batch_id)
        if batch.status != "held":
            message = f"Only a held batch can be released or deleted, and this one is {batch.status}."
            raise conflict("INVALID_STATE", message, status=batch.status)
        return batch
