"""The deliverer: claims what is due for endpoints, has it sent, records how it ended, and claims on.

It has a thread of its own, and so has the sender: an actor only wakes it, so no dead endpoint ever occupies a thread
that payouts need. What is claimed has room in its lane and is sent at once; all else waits in the database.
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

DELIVERIES = Counter("ovnpay_webhook_deliveries_total", "Calls to customers' webhooks by how they ended.", ["result"])
CALL_SECONDS = Histogram("ovnpay_webhook_call_duration_seconds", "How long calls to customers' webhooks took.")
LATENCY_SECONDS = Histogram(
    "ovnpay_webhook_delivery_latency_seconds",
    "From an event to its delivery, where the first attempt succeeded.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
PAUSED = Counter("ovnpay_webhook_endpoints_paused_total", "Endpoints that we have paused, by why.", ["reason"])

for result in DELIVERY_OUTCOMES:
    DELIVERIES.labels(result)
for reason in PausedReason:
    PAUSED.labels(reason.value)

LEASE_MARGIN_SECONDS = 15.0
"""How much longer than a call may take its delivery is held."""
UNDER_WAY_MAX = 512
"""Calls of this process that are under way, whatever their lanes."""
CLOSING_SECONDS = 5.0


class DeliveryWorker:
    """Delivers events to endpoints. One for a process."""

    def __init__(self, settings: Settings, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._sender = WebhookSender(settings, clock)
        self._lease_seconds = settings.webhooks_timeout_seconds + LEASE_MARGIN_SECONDS
        self._inbox: queue.SimpleQueue[
            Sequence[uuid.UUID] | tuple[DeliveryAttempt, DeliveryResult] | DeliveryAttempt | None
        ] = queue.SimpleQueue()
        self._free = {pace: lane.calls_per_process for pace, lane in PACE_LIMITS.items()}
        self._in_lane: set[tuple[uuid.UUID, uuid.UUID, uuid.UUID]] = set()
        self._under_way: dict[tuple[uuid.UUID, uuid.UUID, uuid.UUID], DeliveryAttempt] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)
        self._thread.start()

    def wake(self, endpoint_ids: Sequence[uuid.UUID]) -> None:
        """Something may be due for these endpoints. Returns at once."""
        self._inbox.put(list(endpoint_ids))

    def close(self) -> None:
        """Claims nothing more, and gives what is under way some seconds to end; what does not is handed back, to be
        delivered again by another process at once.
        """
        self._closing = True
        deadline = time.monotonic() + CLOSING_SECONDS
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.05)
        self._inbox.put(None)
        self._thread.join(CLOSING_SECONDS)
        self._sender.close()
        if self._under_way:
            with self._engine.begin() as connection:
                release_leases(connection, list(self._under_way.values()), self._clock.now())
            logger.info("webhooks.handed_back", calls=len(self._under_way))

    def _run(self) -> None:
        while True:
            item = self._inbox.get()
            woken: set[uuid.UUID] = set()
            done: list[tuple[DeliveryAttempt, DeliveryResult]] = []
            while item is not None:
                if isinstance(item, DeliveryAttempt):
                    self._leave_lane(item)
                elif isinstance(item, tuple):
                    done.append(item)
                else:
                    woken.update(item)
                try:
                    item = self._inbox.get_nowait()
                except queue.Empty:
                    break
            try:
                self._step(woken, done)
            except Exception:  # what was not recorded is delivered again once its lease is over
                logger.exception("webhooks.step_failed")
            if item is None:
                return

    def _step(self, woken: set[uuid.UUID], done: Sequence[tuple[DeliveryAttempt, DeliveryResult]]) -> None:
        """Records what has ended, and claims for those endpoints and for the woken ones."""
        now = self._clock.now()
        if done:
            told = [
                {
                    "event": public_id(EVENT, attempt.event_id),
                    "webhook": public_id(WEBHOOK, attempt.endpoint_id),
                    "result": reply.outcome,
                }
                for attempt, reply in done[: logs.LOGGED_IDS_MAX]
            ]
            logger.info("webhooks.called", calls=told, count=len(done))
        for attempt, reply in done:
            self._leave_lane(attempt)
            self._under_way.pop(attempt.lease_key, None)
            count_delivery(attempt, reply, now)
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
        room = max(UNDER_WAY_MAX - len(self._under_way), 0)
        free = {pace: min(slots, room) for pace, slots in self._free.items()}
        with self._engine.begin() as connection:
            taken = claim_deliveries(
                connection, wanted, self._clock.now(), free=free, lease_seconds=self._lease_seconds
            )
        for attempt in taken:
            failpoint("deliver.before_call")
            self._under_way[attempt.lease_key] = attempt
            self._free[attempt.pace] -= 1
            self._in_lane.add(attempt.lease_key)
            self._sender.send(attempt, lambda attempt, reply: self._inbox.put((attempt, reply)))
            if attempt.pace is Pace.QUICK:
                self._sender.call_later(QUICK_CALL_SECONDS, lambda attempt=attempt: self._inbox.put(attempt))  # type: ignore[misc]

    def _leave_lane(self, attempt: DeliveryAttempt) -> None:
        """Gives its place in the lane away, once."""
        if attempt.lease_key in self._in_lane:
            self._in_lane.remove(attempt.lease_key)
            self._free[attempt.pace] += 1


def count_delivery(attempt: DeliveryAttempt, reply: DeliveryResult, now: datetime) -> None:
    """Counts how a call ended."""
    DELIVERIES.labels(reply.outcome).inc()
    CALL_SECONDS.observe(reply.seconds)
    if reply.is_delivered and attempt.attempts == 1:
        LATENCY_SECONDS.observe(max((now - attempt.event_at).total_seconds(), 0.0))
