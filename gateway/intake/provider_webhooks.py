"""Intake of the provider's webhooks: verified and decoded by the handler, stored here by group commit.

Webhooks with an invalid signature belong to no wallet: they are counted, and a few are logged.
"""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from prometheus_client import Counter
from sqlalchemy.exc import OperationalError

from gateway.intake.group_commit import GroupCommit
from shared import inbox
from shared.inbox import ProviderNotification, StoredNotifications, StoreResult
from shared.platform import logs, task_queue
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.signature import InvalidSignature, SignatureFlaw

logger = structlog.get_logger(__name__)

REJECTED_WEBHOOKS = Counter(
    "ovnpay_provider_webhooks_refused_total", "Provider webhooks with an invalid signature.", ["flaw"]
)
for flaw in SignatureFlaw:
    REJECTED_WEBHOOKS.labels(flaw)

LOG_INTERVAL_SECONDS: Final = 1.0


class WebhookIntake:
    """Stores notifications in groups and enqueues those that a worker must apply."""

    def __init__(self, settings: Settings, engine: sa.Engine, task_sender: TaskSender, clock: Clock) -> None:
        self._engine = engine
        self._task_sender = task_sender
        self._clock = clock
        self._grace = timedelta(seconds=settings.wake_up_grace_seconds)
        self._group_commit: GroupCommit[ProviderNotification, StoreResult] = GroupCommit(
            "webhooks",
            self.flush,
            queue_size=settings.intake_queue_size,
            group_size=settings.intake_group_size,
        )

    async def submit(self, notification: ProviderNotification) -> StoreResult:
        """Return once the notification is committed; raise as `GroupCommit.submit` does."""
        return await self._group_commit.submit(notification)

    async def close(self) -> None:
        await self._group_commit.close()

    def flush(self, notifications: Sequence[ProviderNotification]) -> list[StoreResult]:
        """Store a group in one transaction, and repeat it once after a lost connection: an event is stored only once.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is unavailable or rejects a notification; the provider repeats it.

        """
        try:
            stored = self._transaction(notifications)
        except OperationalError:
            stored = self._transaction(notifications)
        failpoint("webhook.after_commit")
        self._task_sender.enqueue(task_queue.APPLY_PROVIDER_EVENTS, stored.waiting)
        failpoint("webhook.after_enqueue")
        events = [
            {"event_id": one.event_key[:64], "payment": one.payment_id} for one in notifications[: logs.LOGGED_IDS_MAX]
        ]
        logger.info("provider_webhooks.stored", events=events, count=len(notifications), waiting=len(stored.waiting))
        return stored.results

    def _transaction(self, notifications: Sequence[ProviderNotification]) -> StoredNotifications:
        with self._engine.begin() as connection:
            stored = inbox.store_notifications(connection, notifications, self._clock.now(), grace=self._grace)
            failpoint("webhook.before_commit")
        return stored


class RejectedWebhooks:
    """Counts webhooks with an invalid signature, and logs at most one per second: a flood can't fill a disk."""

    def __init__(self) -> None:
        self._unlogged = 0
        self._next_log_at = 0.0

    def record(self, error: InvalidSignature, address: str | None) -> None:
        """Count a webhook, and log it with the number of those not logged since the last one."""
        REJECTED_WEBHOOKS.labels(error.flaw).inc()
        now = time.monotonic()
        if now < self._next_log_at:
            self._unlogged += 1
            return
        logger.warning("provider_webhook.refused", why=str(error), address=address, others=self._unlogged)
        self._unlogged, self._next_log_at = 0, now + LOG_INTERVAL_SECONDS
