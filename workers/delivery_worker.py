"""Delivery worker: leases due deliveries of customers' webhooks, has them sent, and records the results.

It has its own thread, so a dead endpoint never occupies a thread that payouts need.
"""

import queue
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Histogram

from shared.events.claim import DeliveryAttempt, claim_deliveries, release_leases
from shared.events.delivery_results import DELIVERY_OUTCOMES, DeliveryResult, record_delivery_results
from shared.events.pace_limits import PACE_LIMITS, QUICK_CALL_SECONDS
from shared.events.sender import WebhookSender
from shared.platform import logs
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.ids import EVENT, WEBHOOK, public_id
from shared.platform.settings import Settings
from shared.schema.events import Pace, PausedReason

logger = structlog.get_logger(__name__)

DELIVERIES = Counter("ovnpay_webhook_deliveries_total", "Calls to customers' webhooks, by result.", ["result"])
CALL_SECONDS = Histogram("ovnpay_webhook_call_duration_seconds", "Duration of calls to customers' webhooks.")
LATENCY_SECONDS = Histogram(
    "ovnpay_webhook_delivery_latency_seconds",
    "From an event to its delivery, if the first attempt succeeded.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
PAUSED = Counter("ovnpay_webhook_endpoints_paused_total", "Endpoints that were paused, by reason.", ["reason"])

for result in DELIVERY_OUTCOMES:
    DELIVERIES.labels(result)
for reason in PausedReason:
    PAUSED.labels(reason.value)

LEASE_MARGIN_SECONDS = 15.0
"""How much longer a delivery is leased than its call may take."""
CALLS_MAX = 512
"""Concurrent calls of this process, of all paces together."""
CLOSING_SECONDS = 5.0


class DeliveryWorker:
    """Delivers customer events to endpoints; one for each process."""

    def __init__(self, settings: Settings, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._sender = WebhookSender(settings, clock)
        self._lease_seconds = settings.webhooks_timeout_seconds + LEASE_MARGIN_SECONDS
        self._messages: queue.SimpleQueue[
            Sequence[uuid.UUID] | tuple[DeliveryAttempt, DeliveryResult] | DeliveryAttempt | None
        ] = queue.SimpleQueue()
        self._free_slots = {pace: limits.calls_per_process for pace, limits in PACE_LIMITS.items()}
        self._slot_holders: set[tuple[uuid.UUID, uuid.UUID, uuid.UUID]] = set()
        self._calls: dict[tuple[uuid.UUID, uuid.UUID, uuid.UUID], DeliveryAttempt] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def wake(self, endpoint_ids: Sequence[uuid.UUID]) -> None:
        """Look for due deliveries of these endpoints; returns at once."""
        self._messages.put(list(endpoint_ids))

    def close(self) -> None:
        """Give calls in progress `CLOSING_SECONDS` to end, then release the other leases, for another process."""
        self._closing = True
        deadline = time.monotonic() + CLOSING_SECONDS
        while self._calls and time.monotonic() < deadline:
            time.sleep(0.05)
        self._messages.put(None)
        self._thread.join(CLOSING_SECONDS)
        self._sender.close()
        if self._calls:
            with self._engine.begin() as connection:
                release_leases(connection, list(self._calls.values()), self._clock.now())
            logger.info("webhooks.handed_back", calls=len(self._calls))

    def _run(self) -> None:
        while True:
            item = self._messages.get()
            woken: set[uuid.UUID] = set()
            done: list[tuple[DeliveryAttempt, DeliveryResult]] = []
            while item is not None:
                if isinstance(item, DeliveryAttempt):
                    self._free_slot(item)
                elif isinstance(item, tuple):
                    done.append(item)
                else:
                    woken.update(item)
                try:
                    item = self._messages.get_nowait()
                except queue.Empty:
                    break
            try:
                self._step(woken, done)
            except Exception:  # an unrecorded delivery is repeated once its lease expires
                logger.exception("webhooks.step_failed")
            if item is None:
                return

    def _step(self, woken: set[uuid.UUID], done: Sequence[tuple[DeliveryAttempt, DeliveryResult]]) -> None:
        """Record the results, then lease due deliveries of their endpoints and of the woken ones."""
        now = self._clock.now()
        if done:
            shown = [
                {
                    "event": public_id(EVENT, attempt.event_id),
                    "webhook": public_id(WEBHOOK, attempt.endpoint_id),
                    "result": outcome.outcome,
                }
                for attempt, outcome in done[: logs.LOGGED_IDS_MAX]
            ]
            logger.info("webhooks.called", calls=shown, count=len(done))
        for attempt, outcome in done:
            self._free_slot(attempt)
            self._calls.pop(attempt.lease_key, None)
            count_delivery(attempt, outcome, now)
        if done:
            failpoint("deliver.after_call")
            with self._engine.begin() as connection:
                paused = record_delivery_results(connection, done, now)
            for one in paused:
                PAUSED.labels(one.reason).inc()
        wanted = woken | {attempt.endpoint_id for attempt, _ in done}
        if self._closing or not wanted:
            return
        failpoint("deliver.before_claim")
        capacity = max(CALLS_MAX - len(self._calls), 0)
        free = {pace: min(slots, capacity) for pace, slots in self._free_slots.items()}
        with self._engine.begin() as connection:
            leased = claim_deliveries(
                connection, wanted, self._clock.now(), free=free, lease_seconds=self._lease_seconds
            )
        for attempt in leased:
            failpoint("deliver.before_call")
            self._calls[attempt.lease_key] = attempt
            self._free_slots[attempt.pace] -= 1
            self._slot_holders.add(attempt.lease_key)
            self._sender.send(attempt, lambda attempt, outcome: self._messages.put((attempt, outcome)))
            if attempt.pace is Pace.QUICK:
                self._sender.call_later(QUICK_CALL_SECONDS, lambda attempt=attempt: self._messages.put(attempt))  # type: ignore[misc]

    def _free_slot(self, attempt: DeliveryAttempt) -> None:
        if attempt.lease_key in self._slot_holders:
            self._slot_holders.remove(attempt.lease_key)
            self._free_slots[attempt.pace] += 1


def count_delivery(attempt: DeliveryAttempt, outcome: DeliveryResult, now: datetime) -> None:
    """Update the metrics for the result of a call."""
    DELIVERIES.labels(outcome.outcome).inc()
    CALL_SECONDS.observe(outcome.seconds)
    if outcome.is_delivered and attempt.attempts == 1:
        LATENCY_SECONDS.observe(max((now - attempt.event_at).total_seconds(), 0.0))
