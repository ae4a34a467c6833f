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
from shared.platform import process_memory
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.ids import WALLET, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.reporting.analytics import fold

logger = structlog.get_logger(__name__)

DUE_ROWS_ENQUEUED = Counter("ovnpay_due_rows_enqueued_total", "Due rows that the tick enqueued.", ["kind"])
FOLDED = Counter("ovnpay_analytics_folded_total", "Transfers that were added to the sums of the analytics.")
BEHIND = Gauge("ovnpay_analytics_wallets_behind", "Wallets whose analytics were behind after the last run.")
LAST_TICK = Gauge("ovnpay_scheduler_last_tick_timestamp_seconds", "Time of the last successful tick, in Unix time.")


@dataclass
class Jobs:
    """The jobs, and what they share."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    clock: Clock
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the scheduler stops; jobs that wait for the provider give up."""
    ticked_at: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.monotonic)

    queued_messages_max = 200
    """A longer queue gets no more messages: no worker consumes it, and Redis must not fill up."""
    rows_per_claim = 500
    claims_per_tick = 20
    again_seconds = 10.0
    batches_again_seconds = 3.0
    webhooks_again_seconds = 0.5
    transfers_per_fold = 10_000
    """About half a second of work; a driver's month is written once for all of a fold's transfers."""
    folding_seconds = 1.0
    """No new fold starts after this time; the next run continues, and payouts use the database in between."""
    rows_per_deletion = 5_000
    deletions_per_run = 200
    first_check_after_seconds = 60.0
    violations_logged_max = 20
    """Violations of one check that are logged."""

    @cached_property
    def paystream(self) -> PaystreamClient:
        """The client that reconciliation reads the provider's record with."""
        return PaystreamClient(self.settings, CallBudget(self.settings, self.engine))

    def tick(self) -> None:
        """Enqueue due rows, at most 10,000 of a kind; the next tick, a second later, continues."""
        for kind in due_rows.OTHER_KINDS:
            self._enqueue_due(kind, self.again_seconds)
        self.ticked_at = time.monotonic()
        LAST_TICK.set_to_current_time()

    def release_batches(self) -> None:
        """Enqueue batches whose scheduled time has come."""
        self._enqueue_due(due_rows.BATCH_KIND, self.batches_again_seconds)

    def deliver_customer_events(self) -> None:
        """Enqueue endpoints with due deliveries."""
        self._enqueue_due(due_rows.WEBHOOK_KIND, self.webhooks_again_seconds)

    def _enqueue_due(self, kind: due_rows.DueKind, again_seconds: float) -> None:
        if self.task_sender.message_count(kind.task.queue) > self.queued_messages_max:
            return
        for _ in range(self.claims_per_tick):
            with self.engine.begin() as connection:
                found = due_rows.claim_due_rows(
                    connection, kind, limit=self.rows_per_claim, again_seconds=again_seconds
                )
            if found.ids:
                failpoint("tick.after_claim")
                self.task_sender.enqueue(kind.task, found.ids)
                failpoint("tick.after_enqueue")
                DUE_ROWS_ENQUEUED.labels(kind.name).inc(len(found.ids))
            if found.due_count < self.rows_per_claim:
                break

    def check_invariants(self) -> None:
        """Check each invariant that is due, and freeze the money that a violation is about."""
        every_seconds = self.settings.check_invariants_every_seconds
        process_memory.release_free_memory()
        # First catch up on work that fell due during a downtime.
        if time.monotonic() - self.started_at < min(self.first_check_after_seconds, every_seconds):
            return
        for invariant in INVARIANTS:
            with self.engine.begin() as connection:
                state = sweep.claim_invariant_check(connection, invariant)
            if state is None:  # not due, or another scheduler checks it
                continue
            step = sweep.check_next_slice(self.engine, invariant, state)
            with self.engine.begin() as connection:
                sweep.record_sweep_step(connection, state, step, every_seconds=every_seconds)
                outgoing_holds.freeze_outgoing(connection, step.violations, self.clock.now())
            for violation in step.violations[: self.violations_logged_max]:
                wallet = violation.wallet_id and public_id(WALLET, violation.wallet_id)
                logger.error("invariant.violated", invariant=invariant.name, wallet=wallet, what=violation.explanation)
            process_memory.release_free_memory()

    def verify_identity(self) -> None:
        """Verify the database identity if necessary; in reconcile-only mode compare with the provider's record."""
        with self.engine.connect() as connection:
            state = load_outbound_guard(connection)
        reconciler = make_reconciler(self.settings, self.engine, self.paystream, self.clock, fail_instead_of_waiting)
        modes = configured_modes(self.settings)
        if state is OutboundGuard.UNVERIFIED:
            state = database_identity.verify_identity(reconciler, modes)
        if state is OutboundGuard.RECONCILE_ONLY:
            wait = timedelta(seconds=self.settings.paystream_timeout_seconds)
            try:
                after_restore.compare_restored_database(
                    reconciler._replace(wait=self._pause), modes, wait=wait, lease_seconds=self.settings.lease_seconds
                )
            except ProviderRecordUnavailable as error:
                logger.warning("installation.not_compared", why=str(error))

    def refresh_identity(self) -> None:
        """Record the time in the database identity: a restored backup then shows how old it is."""
        with self.engine.begin() as connection:
            database_identity.refresh_identity(connection, self.clock.now())

    def reconcile(self) -> None:
        """Compare yesterday's payments with the provider's record, once among all schedulers; catch up missed days."""
        reconciler = make_reconciler(self.settings, self.engine, self.paystream, self.clock, self._pause)
        for mode in configured_modes(self.settings):
            with self.engine.begin() as connection:
                run = runs.claim_daily_run(connection, mode, self.clock.now())
            if run is not None:
                try:
                    execute_run(reconciler, run)
                except ProviderRecordUnavailable as error:
                    logger.warning("reconciliation.failed", mode=mode, why=str(error))

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise ProviderRecordUnavailable("the scheduler stops")

    def apply_retention(self) -> None:
        """Delete what has outlived its retention period, in slices; the next run deletes the rest."""
        for rule in retention.RETENTION_RULES:
            deleted = 0
            for _ in range(self.deletions_per_run):
                with self.engine.begin() as connection:
                    done = retention.apply_retention_rule(
                        connection, rule, self.settings, self.clock.now(), limit=self.rows_per_deletion
                    )
                deleted += done.forgotten
                if not done.more:
                    break
            if deleted:
                logger.info("retention.applied", rule=rule.name, rows=deleted)

    def fold_analytics(self) -> None:
        """Add the wallets' new transfers to the sums of the analytics, in turns; none waits for a large wallet."""
        until = time.monotonic() + self.folding_seconds
        with self.engine.connect() as connection:
            waiting = fold.wallets_behind(connection)
        while waiting and time.monotonic() < until:
            again = []
            for wallet_id in waiting:
                with self.engine.begin() as connection:
                    folded = fold.fold_wallet(connection, wallet_id, limit=self.transfers_per_fold) or 0
                FOLDED.inc(folded)
                if folded == self.transfers_per_fold:
                    again.append(wallet_id)
            waiting = again
        BEHIND.set(len(waiting))
