"""What should be true of payouts, in a hundred lines of plain Python: no rows, no locks, no leases, no doorbells.

The state machine of `test_model.py` tells it what was asked for and what the provider has said, and compares.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ENDS = ("completed", "failed", "returned")
OPEN = ("validated", "queued", "processing")
CONTRADICTING = {
    **dict.fromkeys(("validated", "queued", "failed", "canceled"), ("completed", "returned")),
    **dict.fromkeys(("completed", "returned"), ("failed",)),
}
"""What the provider can't say of a payout with this status: nothing moves then, and a person looks."""


@dataclass
class Payout:
    """One payout."""

    amount: int
    fee: int
    rail: str = "standard"
    batch: uuid.UUID | None = None
    status: str = "validated"
    reserved: bool = False
    attempt: int = 1
    held: bool = False
    submission: str = ""
    """The provider's key under which it is asked for."""


@dataclass
class Batch:
    """One batch. It is ended by its payouts, once it is released."""

    payouts: list[uuid.UUID]
    scheduled: bool
    due: bool = False
    released: bool = False
    refused: bool = False
    """Whether the money was missing when it was to be released."""


@dataclass
class Model:
    """One wallet."""

    available: int
    in_transit: int = 0
    pending: int = 0
    fees: int = 0
    payouts: dict[uuid.UUID, Payout] = field(default_factory=dict)
    batches: dict[uuid.UUID, Batch] = field(default_factory=dict)
    payments: dict[str, tuple[uuid.UUID, int]] = field(default_factory=dict)
    """The provider's payments that we know of: whose, and of which attempt."""

    def fee(self, rail: str, amount: int, *, in_batch: bool) -> int:
        """The price list."""
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
        """Whether it is accepted: the money has to be there."""
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
        """All of it, or nothing."""
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
        """Its status; with a payout returned it depends on whether that was before its end or after it."""
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
        """These set out, and with a standard one all that wait."""
        going = [payout for payout in self._among(payout_ids, "queued") if not payout.held]
        if any(payout.rail == "standard" for payout in going):
            going += [payout for payout in self._among(self.payouts, "queued") if payout.rail == "standard"]
        for payout in going:
            payout.status = payout.status if payout.held else "processing"

    def cancel(self, payout_id: uuid.UUID) -> bool:
        payout = self.payouts[payout_id]
        if payout.status not in ("validated", "queued"):
            return False
        payout.status = "canceled"
        self.release_money(payout)
        return True

    def retry(self, payout_id: uuid.UUID) -> bool:
        payout = self.payouts[payout_id]
        if payout.status != "failed" or payout.held or payout.amount > self.available:
            return False
        payout.status, payout.attempt, payout.submission = "queued", payout.attempt + 1, ""
        self.reserve(payout)
        return True

    def refused(self, key: str) -> None:
        """The provider definitely refuses this key: one payout fails by it, several are tried again in halves."""
        waiting = [one for one in self._among(self.payouts, "processing") if one.submission == key and not one.held]
        if len(waiting) == 1:
            waiting[0].status = "failed"
            self.release_money(waiting[0])

    def hear(self, payment: str, state: str, *, right: bool = True) -> bool:
        """The provider's word on a payment; False if we don't know that one yet."""
        if payment not in self.payments:
            return False
        payout, attempt = self.payouts[self.payments[payment][0]], self.payments[payment][1]
        if not right:
            payout.held = True
        elif state in ENDS and attempt != payout.attempt:
            payout.held |= state != "failed"  # a second payment; that the first has failed is known
        elif state in CONTRADICTING.get(payout.status, ()):
            payout.held = True
        elif state in ENDS and not payout.held:
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
