"""The jobs of the timetable. Each is safe to run in several schedulers at once."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Gauge

from shared import due, idempotency, sessions
from shared.analytics import fold
from shared.broker import Doorbell
from shared.clock import Clock
from shared.ledger.reading import breaks
from shared.settings import Settings
from shared.webhooks import deliveries

logger = structlog.get_logger(__name__)

RUNG = Counter("ovnpay_due_rung_total", "Due rows that the tick rang the doorbell for.", ["kind"])
LEDGER_BREAKS = Gauge("ovnpay_ledger_breaks", "Laws of the ledger that some wallet breaks; anything but 0 is a page.")
LEDGER_PROVED = Gauge("ovnpay_ledger_proved_timestamp_seconds", "When the ledger was last proved, in Unix time.")
FOLDED = Counter("ovnpay_analytics_folded_total", "Transfers that were folded into the sums of the analytics.")
BEHIND = Gauge("ovnpay_analytics_wallets_behind", "Wallets whose analytics were not folded to the end in time.")
LAST_TICK = Gauge("ovnpay_scheduler_last_tick_timestamp_seconds", "When the tick last ended well, in Unix time.")


@dataclass
class Jobs:
    """What the jobs share."""

    settings: Settings
    engine: sa.Engine
    doorbell: Doorbell
    clock: Clock
    ticked_at: float = field(default_factory=time.monotonic)

    messages_waiting_max = 200
    """A queue with more than this is not rung again: nobody is there to hear, and Redis must not fill up."""
    rows_a_claim = 500
    claims_a_tick = 20
    again_seconds = 10.0
    batches_again_seconds = 3.0
    transfers_a_fold = 10_000
    """About half a second's work, where so many wait: a driver's month is written once for all of them."""
    folding_seconds = 1.0
    """How long a round of folding begins another fold; the next round goes on from there, and leaves the database to
    the payouts in between."""
    webhooks_again_seconds = 0.5

    def tick(self) -> None:
        """Rings the bell for every due row, at most 10,000 of a kind; the next tick, a second later, goes on."""
        for kind in due.OTHERS:
            self._ring_for(kind, self.again_seconds)
        self.ticked_at = time.monotonic()
        LAST_TICK.set_to_current_time()

    def release_batches(self) -> None:
        """The same for batches whose time has come."""
        self._ring_for(due.BATCHES, self.batches_again_seconds)

    def deliver_customer_events(self) -> None:
        """The same for webhooks that something is due for."""
        self._ring_for(due.WEBHOOKS, self.webhooks_again_seconds)

    def _ring_for(self, kind: due.Kind, again_seconds: float) -> None:
        if self.doorbell.waiting(kind.bell.queue) > self.messages_waiting_max:
            return
        for _ in range(self.claims_a_tick):
            with self.engine.begin() as connection:
                ids = due.claim(connection, kind, limit=self.rows_a_claim, again_seconds=again_seconds)
            if ids:
                self.doorbell.ring(kind.bell, ids)
                RUNG.labels(kind.name).inc(len(ids))
            if len(ids) < self.rows_a_claim:
                break

    def prove_ledger(self) -> None:
        """Checks the laws of the ledger over everything, at one moment."""
        engine = self.engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            connection.execute(sa.text("SET LOCAL statement_timeout = '30min'"))
            found = breaks(connection)
        for broken in found:
            logger.error("ledger.broken", wallet=str(broken.wallet_id), what=broken.explanation)
        LEDGER_BREAKS.set(len(found))
        LEDGER_PROVED.set_to_current_time()

    def forget_expired_keys(self) -> None:
        """Deletes idempotency keys past their lifetime, sessions that are long over, and old deliveries."""
        forgotten = 0
        for _ in range(100):
            with self.engine.begin() as connection:
                count = idempotency.forget_expired(connection, self.clock.now(), limit=10_000)
            forgotten += count
            if count < 10_000:
                break
        if forgotten:
            logger.info("idempotency_keys.forgotten", count=forgotten)
        with self.engine.begin() as connection:
            sessions.forget_over(connection, self.clock.now(), limit=10_000)
        for _ in range(100):
            with self.engine.begin() as connection:
                if deliveries.forget_old(connection, self.clock.now(), limit=5_000) < 5_000:
                    break

    def fold_analytics(self) -> None:
        """Folds the wallets' ledgers into the sums of the analytics, in turn, so that none waits for one that is far
        behind; what another scheduler is at is left to it."""
        until = time.monotonic() + self.folding_seconds
        with self.engine.connect() as connection:
            waiting = fold.behind(connection)
        while waiting and time.monotonic() < until:
            again = []
            for wallet_id in waiting:
                with self.engine.begin() as connection:
                    folded = fold.fold(connection, wallet_id, limit=self.transfers_a_fold) or 0
                FOLDED.inc(folded)
                if folded == self.transfers_a_fold:
                    again.append(wallet_id)
            waiting = again
        BEHIND.set(len(waiting))
