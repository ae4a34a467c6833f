"""The jobs of the timetable. Each is safe to run in several schedulers at once."""

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Gauge

from shared.controls.invariants import INVARIANTS, sweep
from shared.controls.reconciliation import after_restore, database_identity, runs
from shared.controls.reconciliation.provider_pages import ProviderRecordUnavailable, fail_instead_of_waiting
from shared.controls.reconciliation.reconcile import execute_run
from shared.controls.reconciliation.reconciler import configured_modes, make_reconciler
from shared.holds import outgoing_holds
from shared.holds.reconcile_only import OutboundGuard, load_outbound_guard
from shared.operations import due_rows, retention
from shared.platform import process_memory, safeguards
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.ids import WALLET, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.reporting.analytics import fold

logger = structlog.get_logger(__name__)

DUE_ROWS_ENQUEUED = Counter("ovnpay_due_rung_total", "Due rows that the tick rang the doorbell for.", ["kind"])
FOLDED = Counter("ovnpay_analytics_folded_total", "Transfers that were folded into the sums of the analytics.")
BEHIND = Gauge("ovnpay_analytics_wallets_behind", "Wallets whose analytics were not folded to the end in time.")
LAST_TICK = Gauge("ovnpay_scheduler_last_tick_timestamp_seconds", "When the tick last ended well, in Unix time.")


@dataclass
class Jobs:
    """What the jobs share."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    clock: Clock
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when the scheduler stops: what waits for the provider gives up."""
    ticked_at: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.monotonic)

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
    rows_a_portion = 5_000
    portions_a_run = 200
    prove_after_seconds = 60.0
    breaks_told = 20
    """How many breaks of one proof are told in the log."""

    @cached_property
    def paystream(self) -> PaystreamClient:
        """The client for the questions of a comparison."""
        return PaystreamClient(self.settings, CallBudget(self.settings, self.engine))

    def tick(self) -> None:
        """Rings the bell for every due row, at most 10,000 of a kind; the next tick, a second later, goes on."""
        for kind in due_rows.OTHER_KINDS if safeguards.is_on(safeguards.DUE_TICK) else ():
            self._ring_for(kind, self.again_seconds)
        self.ticked_at = time.monotonic()
        LAST_TICK.set_to_current_time()

    def release_batches(self) -> None:
        """The same for batches whose time has come."""
        self._ring_for(due_rows.BATCH_KIND, self.batches_again_seconds)

    def deliver_customer_events(self) -> None:
        """The same for webhooks that something is due for."""
        self._ring_for(due_rows.WEBHOOK_KIND, self.webhooks_again_seconds)

    def _ring_for(self, kind: due_rows.DueKind, again_seconds: float) -> None:
        if self.task_sender.waiting(kind.task.queue) > self.messages_waiting_max:
            return
        for _ in range(self.claims_a_tick):
            with self.engine.begin() as connection:
                found = due_rows.claim_due_rows(connection, kind, limit=self.rows_a_claim, again_seconds=again_seconds)
            if found.ids:
                failpoint("tick.after_claim")
                self.task_sender.enqueue(kind.task, found.ids)
                failpoint("tick.after_ring")
                DUE_ROWS_ENQUEUED.labels(kind.name).inc(len(found.ids))
            if found.due_count < self.rows_a_claim:
                break

    def check_invariants(self) -> None:
        """Proves each invariant that is due and that no other scheduler is at; a break freezes the money that it is
        about. Not at once after the start: what fell due while nobody worked is first caught up on.
        """
        every_seconds = self.settings.check_invariants_every_seconds
        process_memory.release_free_memory()
        if time.monotonic() - self.began_at < min(self.prove_after_seconds, every_seconds):
            return
        for law in INVARIANTS:
            with self.engine.begin() as connection:
                turn = sweep.claim_invariant_check(connection, law)
            if turn is None:
                continue
            proved = sweep.check_next_slice(self.engine, law, turn)
            with self.engine.begin() as connection:
                sweep.record_sweep_step(connection, turn, proved, every_seconds=every_seconds)
                outgoing_holds.freeze_outgoing(connection, proved.violations, self.clock.now())
            for broken in proved.violations[: self.breaks_told]:
                wallet = broken.wallet_id and public_id(WALLET, broken.wallet_id)
                logger.error("invariant.broken", invariant=law.name, wallet=wallet, what=broken.explanation)
            process_memory.release_free_memory()

    def guard(self) -> None:
        """Sees to it that money may leave: looks whether this is the database that it was; compares the provider's
        record where it may not be.
        """
        with self.engine.connect() as connection:
            state = load_outbound_guard(connection)
        by = make_reconciler(self.settings, self.engine, self.paystream, self.clock, fail_instead_of_waiting)
        modes = configured_modes(self.settings)
        if state is OutboundGuard.UNVERIFIED:
            state = database_identity.verify_identity(by, modes)
        if state is OutboundGuard.RECONCILE_ONLY:
            wait = timedelta(seconds=self.settings.paystream_timeout_seconds)
            try:
                after_restore.compare_restored_database(
                    by._replace(wait=self._pause), modes, wait=wait, lease_seconds=self.settings.lease_seconds
                )
            except ProviderRecordUnavailable as why:
                logger.warning("installation.not_compared", why=str(why))

    def refresh_identity(self) -> None:
        """Notes that the database is the right one, so that a copy of it says how old it is."""
        with self.engine.begin() as connection:
            database_identity.refresh_identity(connection, self.clock.now())

    def reconcile(self) -> None:
        """Makes yesterday's comparison with the provider's record, once, whoever does; missed days are made up for."""
        by = make_reconciler(self.settings, self.engine, self.paystream, self.clock, self._pause)
        for mode in configured_modes(self.settings):
            with self.engine.begin() as connection:
                run = runs.claim_daily_run(connection, mode, self.clock.now())
            if run is not None:
                try:
                    execute_run(by, run)
                except ProviderRecordUnavailable as why:
                    logger.warning("reconciliation.failed", mode=mode, why=str(why))

    def _pause(self, seconds: float) -> None:
        if self.ending.wait(seconds):
            raise ProviderRecordUnavailable("the scheduler stops")

    def forget(self) -> None:
        """Forgets what was kept long enough, in portions; what is left goes next time."""
        for rule in retention.RETENTION_RULES:
            forgotten = 0
            for _ in range(self.portions_a_run):
                with self.engine.begin() as connection:
                    done = retention.apply_retention_rule(
                        connection, rule, self.settings, self.clock.now(), limit=self.rows_a_portion
                    )
                forgotten += done.forgotten
                if not done.more:
                    break
            if forgotten:
                logger.info("retention.forgotten", rule=rule.name, rows=forgotten)

    def fold_analytics(self) -> None:
        """Folds the wallets' ledgers into the sums of the analytics, in turn, so that none waits for one that is far
        behind; what another scheduler is at is left to it.
        """
        until = time.monotonic() + self.folding_seconds
        with self.engine.connect() as connection:
            waiting = fold.wallets_behind(connection)
        while waiting and time.monotonic() < until:
            again = []
            for wallet_id in waiting:
                with self.engine.begin() as connection:
                    folded = fold.fold_wallet(connection, wallet_id, limit=self.transfers_a_fold) or 0
                FOLDED.inc(folded)
                if folded == self.transfers_a_fold:
                    again.append(wallet_id)
            waiting = again
        BEHIND.set(len(waiting))
