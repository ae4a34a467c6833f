"""The expected behavior of payouts in a hundred lines of plain Python: no rows, locks, leases or tasks.

The state machine of `test_model.py` reports what was requested and what the provider did, and compares.

"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ENDS = ("completed", "failed", "returned")
OPEN = ("validated", "queued", "processing")
CONTRADICTIONS = {
    **dict.fromkeys(("validated", "queued", "failed", "canceled"), ("completed", "returned")),
    **dict.fromkeys(("completed", "returned"), ("failed",)),
}
"""Updates that put a payout with this status on hold; no money moves."""


@dataclass
class Payout:
    amount: int
    fee: int
    rail: str = "standard"
    batch: uuid.UUID | None = None
    status: str = "validated"
    reserved: bool = False
    attempt: int = 1
    on_hold: bool = False
    submission: str = ""
    """The idempotency key of its submission."""


@dataclass
class Batch:
    """A batch. Its payouts end it once it is released."""

    payouts: list[uuid.UUID]
    scheduled: bool
    due: bool = False
    released: bool = False
    refused: bool = False
    """Whether the balance did not cover its release."""


@dataclass
class Model:
    """One wallet, in cents."""

    available: int
    in_transit: int = 0
    pending: int = 0
    fees: int = 0
    payouts: dict[uuid.UUID, Payout] = field(default_factory=dict)
    batches: dict[uuid.UUID, Batch] = field(default_factory=dict)
    payments: dict[str, tuple[uuid.UUID, int]] = field(default_factory=dict)
    """The known provider payments, each with its payout and attempt."""

    def fee(self, rail: str, amount: int, *, in_batch: bool) -> int:
        if rail == "instant":
            return amount * (50 if amount >= 50_000 else 100) // 10_000
        return min(amount * 50 // 10_000, 250) if in_batch else 250

    def reserve(self, payout: Payout) -> None:
        self.available, self.in_transit = self.available - payout.amount, self.in_transit + payout.amount
        payout.reserved = True

    def release_money(self, payout: Payout) -> None:
        if payout.reserved:
            self.available, self.in_transit = self.available + payout.amount, self.in_transit - payout.amount
        payout.reserved = False

    def accept(self, payout_id: uuid.UUID, rail: str, amount: int) -> bool:
        """Whether the order is accepted: the balance must cover it."""
        if amount > self.available:
            return False
        self.payouts[payout_id] = payout = Payout(amount, self.fee(rail, amount, in_batch=False), rail)
        payout.status = "processing" if rail == "instant" else "validated"
        self.reserve(payout)
        return True

    def hand_in(self, batch_id: uuid.UUID, amounts: dict[uuid.UUID, int], *, scheduled: bool) -> None:
        for payout_id, amount in amounts.items():
            self.payouts[payout_id] = Payout(amount, self.fee("standard", amount, in_batch=True), batch=batch_id)
        self.batches[batch_id] = Batch(list(amounts), scheduled)

    def release(self, batch_id: uuid.UUID) -> bool:
        """All of the batch or nothing."""
        batch = self.batches[batch_id]
        waiting = [self.payouts[one] for one in batch.payouts if self.payouts[one].status == "validated"]
        if batch.released or self.batch_status(batch_id) == "canceled":
            return batch.released
        if sum(payout.amount for payout in waiting) > self.available:
            batch.refused |= batch.due or not batch.scheduled
            return False
        for payout in waiting:
            self.reserve(payout)
            payout.status = "queued"
        batch.released, batch.refused = True, False
        return True

    def may_be(self, batch_id: uuid.UUID) -> set[str]:
        """The possible statuses: with a returned payout, it depends on when it was returned."""
        status = self.batch_status(batch_id)
        returned = any(self.payouts[one].status == "returned" for one in self.batches[batch_id].payouts)
        return {"completed", "failed"} if returned and status in ("completed", "failed") else {status}

    def batch_status(self, batch_id: uuid.UUID) -> str:
        batch = self.batches[batch_id]
        statuses = {self.payouts[one].status for one in batch.payouts}
        if not statuses & set(OPEN):
            return "canceled" if not batch.released else "completed" if "completed" in statuses else "failed"
        return "processing" if batch.released else "failed" if batch.refused else "queued"

    def queue(self, payout_ids: Iterable[uuid.UUID]) -> None:
        for payout in self._among(payout_ids, "validated"):
            payout.status = "queued" if payout.reserved else "validated"

    def submit(self, payout_ids: Iterable[uuid.UUID]) -> None:
        """Submit these, and with a standard payout all queued standard ones."""
        submitted = [payout for payout in self._among(payout_ids, "queued") if not payout.on_hold]
        if any(payout.rail == "standard" for payout in submitted):
            submitted += [payout for payout in self._among(self.payouts, "queued") if payout.rail == "standard"]
        for payout in submitted:
            payout.status = payout.status if payout.on_hold else "processing"

    def cancel(self, payout_id: uuid.UUID) -> bool:
        payout = self.payouts[payout_id]
        if payout.status not in ("validated", "queued"):
            return False
        payout.status = "canceled"
        self.release_money(payout)
        return True

    def retry(self, payout_id: uuid.UUID) -> bool:
        payout = self.payouts[payout_id]
        if payout.status != "failed" or payout.on_hold or payout.amount > self.available:
            return False
        payout.status, payout.attempt, payout.submission = "queued", payout.attempt + 1, ""
        self.reserve(payout)
        return True

    def reject(self, key: str) -> None:
        """The provider rejects this key: a single payout fails, several are split and retried."""
        waiting = [one for one in self._among(self.payouts, "processing") if one.submission == key and not one.on_hold]
        if len(waiting) == 1:
            waiting[0].status = "failed"
            self.release_money(waiting[0])

    def apply_update(self, payment: str, state: str, *, is_true: bool = True) -> bool:
        """Apply a payment update; False if the payment is not known yet."""
        if payment not in self.payments:
            return False
        payout, attempt = self.payouts[self.payments[payment][0]], self.payments[payment][1]
        if not is_true:
            payout.on_hold = True
        elif state in ENDS and attempt != payout.attempt:
            payout.on_hold |= state != "failed"  # a second payment; a repeated failure changes nothing
        elif state in CONTRADICTIONS.get(payout.status, ()):
            payout.on_hold = True
        elif state in ENDS and not payout.on_hold:
            self._end(payout, state)
        return True

    def _end(self, payout: Payout, state: str) -> None:
        net = payout.amount - payout.fee
        if payout.status == "processing" and state == "failed":
            payout.status = "failed"
            self.release_money(payout)
        if payout.status == "processing" and state in ("completed", "returned"):
            payout.status, payout.reserved = "completed", False
            self.in_transit, self.fees = self.in_transit - payout.amount, self.fees + payout.fee
        if payout.status == "completed" and state == "returned":
            payout.status = "returned"
            self.available += net

    def _among(self, payout_ids: Iterable[uuid.UUID], status: str) -> Sequence[Payout]:
        return [self.payouts[one] for one in payout_ids if one in self.payouts and self.payouts[one].status == status]
