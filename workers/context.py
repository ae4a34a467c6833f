"""What an actor needs: made once in each worker process, after the fork."""

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
    """A worker process's connections to the world."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    paystream: PaystreamClient
    clock: Clock
    notices: CoalescingQueue = field(default_factory=lambda: CoalescingQueue("provider_events"))
    """What Paystream has told us and this process has heard of, and not applied."""
    departures: CoalescingQueue = field(default_factory=lambda: CoalescingQueue("departures"))
    """Queued payouts that this process has heard of, and not submitted."""
    _deliverer: DeliveryWorker | None = None
    _ending: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, endpoint_ids: Sequence[uuid.UUID]) -> None:
        """Has customers' webhooks called that something may be due for; returns at once. What calls them is made when
        it is first needed, for most processes of a large installation never need it.
        """
        with self._lock:
            if self._ending:
                return
            if self._deliverer is None:
                self._deliverer = DeliveryWorker(self.settings, self.engine, self.clock)
            self._deliverer.wake(endpoint_ids)

    def can_send_money(self) -> bool:
        """Whether it may, found out where nobody knows yet: asked by whoever was given nothing to send."""
        with self.engine.connect() as connection:
            state = load_outbound_guard(connection)
        if state is OutboundGuard.UNVERIFIED:
            by = make_reconciler(self.settings, self.engine, self.paystream, self.clock, fail_instead_of_waiting)
            state = database_identity.verify_identity(by, configured_modes(self.settings))
        return state is OutboundGuard.OPEN

    @property
    def grace(self) -> timedelta:
        """How long a doorbell has to be heard before the tick rings again."""
        return timedelta(seconds=self.settings.wake_up_grace_seconds)

    def poll_after(self, rail: Rail) -> timedelta:
        """How long a payout on this rail waits for its webhook."""
        seconds: float = getattr(self.settings, f"poll_after_{rail.value}_seconds")
        return timedelta(seconds=seconds)

    def split_by_lease(self, ids: Sequence[uuid.UUID]) -> tuple[Sequence[uuid.UUID], Sequence[uuid.UUID]]:
        """As many as can be called within a lease even if each call times out and every thread is at it, and the
        rest, for another message.
        """
        settings = self.settings
        rounds = settings.lease_seconds / settings.paystream_timeout_seconds / 2
        most = max(int(rounds * settings.paystream_concurrency / settings.workers_threads), 1)
        return ids[:most], ids[most:]

    def stop_delivery(self) -> None:
        """Ends the calls of customers' webhooks that are under way, where there are any; begins no others."""
        with self._lock:
            self._ending, deliverer, self._deliverer = True, self._deliverer, None
        if deliverer is not None:
            deliverer.close()

    def close(self) -> None:
        """Rings what is waiting, then closes the connections."""
        self.stop_delivery()
        self.task_sender.close()
        self.paystream.close()
        self.engine.dispose()


OTHER_THREADS = 1
"""Those that use the database beside the actors': the deliverer's."""

_current: Context | None = None


def open_context(settings: Settings, clock: Clock | None = None) -> Context:
    """Makes this process's context."""
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
    """This process's context."""
    assert _current is not None, "open_context was not called in this process"
    return _current
