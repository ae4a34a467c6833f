"""Balances: one for each mode, with a statement entry for each change."""

from typing import Any

from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import MODES, Balance, BalanceEntry, Mode, Topup
from deploy.simulator.errors import rejected
from deploy.simulator.options import Options
from deploy.simulator.request_bodies import NewTopup
from deploy.simulator.time_and_ids import format_time, new_id, now_seconds, now_text
from deploy.simulator.timer import Timer


class Balances:
    """Sending locks money, completion settles it, failure unlocks it, a return credits it."""

    def __init__(self, options: Options, store: DocumentStore, timer: Timer) -> None:
        self._options = options
        self._store = store
        self._timer = timer
        self._by_mode: dict[Mode, Balance] = {}

    def start(self) -> None:
        for mode in MODES:
            balance = self._store.get(Balance, mode)
            if balance is None:
                balance = Balance(id=mode, mode=mode, available_cents=self._options.starting_balance_cents)
                self._store.save(balance)
            self._by_mode[mode] = balance
        for topup in self._store.load_due(Topup):
            self._timer.at(topup.due_at or 0, self._settle_topup, topup)

    def summary(self, mode: Mode) -> dict[str, Any]:
        balance = self._by_mode[mode]
        return {
            "availableBalance": balance.available_cents,
            "pendingBalance": balance.pending_cents,
            "lockedBalance": balance.locked_cents,
            "currency": "usd",
        }

    def require_available(self, mode: Mode, required_cents: int) -> None:
        """Raise INSUFFICIENT_BALANCE if less is available."""
        available_cents = self._by_mode[mode].available_cents
        if available_cents < required_cents:
            raise rejected(
                "INSUFFICIENT_BALANCE",
                "The available balance does not cover this.",
                available=available_cents,
                required=required_cents,
            )

    def lock(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._by_mode[mode]
        balance.available_cents -= amount_cents
        balance.locked_cents += amount_cents
        self._write(balance, "lock", amount_cents, reference)

    def unlock(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._by_mode[mode]
        balance.locked_cents -= amount_cents
        balance.available_cents += amount_cents
        self._write(balance, "unlock", amount_cents, reference)

    def settle(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._by_mode[mode]
        balance.locked_cents -= amount_cents
        self._write(balance, "settlement", amount_cents, reference)

    def credit(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._by_mode[mode]
        balance.available_cents += amount_cents
        self._write(balance, "credit", amount_cents, reference)

    def debit(self, mode: Mode, amount_cents: int, reference: str) -> None:
        self.require_available(mode, amount_cents)
        balance = self._by_mode[mode]
        balance.available_cents -= amount_cents
        self._write(balance, "debit", amount_cents, reference)

    def topup(self, mode: Mode, body: NewTopup, key: str | None) -> Topup:
        fast = "rtp" in body.funding_source_id.lower()
        delay_seconds = self._options.rtp_topup_seconds if fast else self._options.ach_topup_seconds
        now = now_seconds()
        topup = Topup(
            id=new_id("top"),
            mode=mode,
            amount_cents=body.amount,
            funding_source_id=body.funding_source_id,
            idempotency_key=key,
            created_at=format_time(now),
            due_at=now + delay_seconds,
        )
        balance = self._by_mode[mode]
        balance.pending_cents += topup.amount_cents
        self._store.save(balance)
        self._store.save(topup)
        self._timer.at(now + delay_seconds, self._settle_topup, topup)
        return topup

    def _settle_topup(self, topup: Topup) -> None:
        topup.due_at, topup.status = None, "completed"
        self._store.save(topup)
        self._by_mode[topup.mode].pending_cents -= topup.amount_cents
        self.credit(topup.mode, topup.amount_cents, topup.id)

    def _write(self, balance: Balance, kind: Any, amount_cents: int, reference: str) -> None:
        self._store.save(balance)
        self._store.save(
            BalanceEntry(
                id=new_id("btx"),
                mode=balance.mode,
                type=kind,
                amount_cents=amount_cents,
                balance_after_cents=balance.available_cents,
                reference=reference,
                created_at=now_text(),
            )
        )
