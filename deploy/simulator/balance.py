"""Where is the money? One balance a mode, and a statement line for each move."""

from typing import Any

from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import MODES, Balance, BalanceEntry, Mode, Topup
from deploy.simulator.errors import rejected
from deploy.simulator.options import Options
from deploy.simulator.request_bodies import NewTopup
from deploy.simulator.time_and_ids import format_time, new_id, now_seconds, now_text
from deploy.simulator.timer import Timer


class Balances:
    """Sending locks, completion settles, failure unlocks, a return credits back."""

    def __init__(self, options: Options, record: DocumentStore, timer: Timer) -> None:
        self._options = options
        self._record = record
        self._timer = timer
        self._of: dict[Mode, Balance] = {}

    def start(self) -> None:
        for mode in MODES:
            balance = self._record.get(Balance, mode)
            if balance is None:
                balance = Balance(id=mode, mode=mode, available_cents=self._options.starting_balance_cents)
                self._record.keep(balance)
            self._of[mode] = balance
        for topup in self._record.load_due(Topup):
            self._timer.at(topup.due_at or 0, self._settle_topup, topup)

    def summary(self, mode: Mode) -> dict[str, Any]:
        balance = self._of[mode]
        return {
            "availableBalance": balance.available_cents,
            "pendingBalance": balance.pending_cents,
            "lockedBalance": balance.locked_cents,
            "currency": "usd",
        }

    def require(self, mode: Mode, required_cents: int) -> None:
        """Raises INSUFFICIENT_BALANCE when less than this is available."""
        available_cents = self._of[mode].available_cents
        if available_cents < required_cents:
            raise rejected(
                "INSUFFICIENT_BALANCE",
                "The available balance does not cover this.",
                available=available_cents,
                required=required_cents,
            )

    def lock(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._of[mode]
        balance.available_cents -= amount_cents
        balance.locked_cents += amount_cents
        self._write(balance, "lock", amount_cents, reference)

    def unlock(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._of[mode]
        balance.locked_cents -= amount_cents
        balance.available_cents += amount_cents
        self._write(balance, "unlock", amount_cents, reference)

    def settle(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._of[mode]
        balance.locked_cents -= amount_cents
        self._write(balance, "settlement", amount_cents, reference)

    def credit(self, mode: Mode, amount_cents: int, reference: str) -> None:
        balance = self._of[mode]
        balance.available_cents += amount_cents
        self._write(balance, "credit", amount_cents, reference)

    def debit(self, mode: Mode, amount_cents: int, reference: str) -> None:
        self.require(mode, amount_cents)
        balance = self._of[mode]
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
        balance = self._of[mode]
        balance.pending_cents += topup.amount_cents
        self._record.keep(balance)
        self._record.keep(topup)
        self._timer.at(now + delay_seconds, self._settle_topup, topup)
        return topup

    def _settle_topup(self, topup: Topup) -> None:
        topup.due_at, topup.status = None, "completed"
        self._record.keep(topup)
        self._of[topup.mode].pending_cents -= topup.amount_cents
        self.credit(topup.mode, topup.amount_cents, topup.id)

    def _write(self, balance: Balance, kind: Any, amount_cents: int, reference: str) -> None:
        self._record.keep(balance)
        self._record.keep(
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
