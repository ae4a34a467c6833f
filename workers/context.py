"""The context of a worker process: settings, connections and queues that its actors share; opened after the fork."""

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa

from shared.controls.reconciliation import database_identity
from shared.controls.reconciliation.provider_pages import fail_instead_of_waiting
from shared.controls.reconciliation.reconciler import configured_modes, make_reconciler
from shared.holds.reconcile_only import OutboundGuard, load_outbound_guard
from shared.platform.clock import Clock, SystemClock
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.schema.payouts import Rail
from workers.coalescing_queue import CoalescingQueue
from workers.delivery_worker import DeliveryWorker


@dataclass
class Context:
    """What the actors of a worker process share."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    paystream: PaystreamClient
    clock: Clock
    provider_events_queue: CoalescingQueue = field(default_factory=lambda: CoalescingQueue("provider_events"))
    """Provider events that this process has received and not applied."""
    dispatch_queue: CoalescingQueue = field(default_factory=lambda: CoalescingQueue("dispatch"))
    """Queued payouts that this process has received and not submitted."""
    _delivery_worker: DeliveryWorker | None = None
    _is_stopping: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, endpoint_ids: Sequence[uuid.UUID]) -> None:
        """Deliver what is due for these endpoints, in the delivery worker's thread; returns at once."""
        with self._lock:
            if self._is_stopping:
                return
            if self._delivery_worker is None:  # most processes of a large installation never need it
                self._delivery_worker = DeliveryWorker(self.settings, self.engine, self.clock)
            self._delivery_worker.wake(endpoint_ids)

    def can_send_money(self) -> bool:
        """Return whether the outbound guard is open; verify the database identity first if that has not been done."""
        with self.engine.connect() as connection:
            state = load_outbound_guard(connection)
        if state is OutboundGuard.UNVERIFIED:
            reconciler = make_reconciler(
                self.settings, self.engine, self.paystream, self.clock, fail_instead_of_waiting
            )
            state = database_identity.verify_identity(reconciler, configured_modes(self.settings))
        return state is OutboundGuard.OPEN

    @property
    def grace(self) -> timedelta:
        """The wake-up grace: how long a wake-up has before the tick enqueues the row again."""
        return timedelta(seconds=self.settings.wake_up_grace_seconds)

    def poll_after(self, rail: Rail) -> timedelta:
        """How long a payout on this rail waits for its webhook."""
        seconds: float = getattr(self.settings, f"poll_after_{rail.value}_seconds")
        return timedelta(seconds=seconds)

    def split_by_lease(self, ids: Sequence[uuid.UUID]) -> tuple[Sequence[uuid.UUID], Sequence[uuid.UUID]]:
        """Split off the ids that this thread can call within a lease, even if every call times out."""
        settings = self.settings
        rounds = settings.lease_seconds / settings.paystream_timeout_seconds / 2
        count = max(int(rounds * settings.paystream_concurrency / settings.workers_threads), 1)
        return ids[:count], ids[count:]

    def stop_delivery(self) -> None:
        """Finish the calls of customers' webhooks in progress, and start no others."""
        with self._lock:
            self._is_stopping, delivery_worker, self._delivery_worker = True, self._delivery_worker, None
        if delivery_worker is not None:
            delivery_worker.close()

    def close(self) -> None:
        """Send the enqueued messages, then close the connections."""
        self.stop_delivery()
        self.task_sender.close()
        self.paystream.close()
        self.engine.dispose()


OTHER_THREADS = 1
"""Threads besides the actors' that use the database: the delivery worker's."""

_current: Context | None = None


def open_context(settings: Settings, clock: Clock | None = None) -> Context:
    """Open this process's context."""
    global _current
    engine = make_engine(settings, "workers", pool_size=settings.workers_threads + OTHER_THREADS)
    _current = Context(
        settings=settings,
        engine=engine,
        task_sender=TaskSender(settings),
        paystream=PaystreamClient(settings, CallBudget(settings, engine)),
        clock=clock or SystemClock(),
    )
    return _current


def current_context() -> Context:
    """Return this process's context."""
    assert _current is not None, "open_context was not called in this process"
    return _current
