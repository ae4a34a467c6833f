"""The intake of the provider's webhooks: verified and read by the handler, stored here by group commit."""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from gateway.intake.group_commit import GroupCommit
from shared import inbox
from shared.inbox import ProviderNotification, StoredNotifications, StoreResult
from shared.platform import logs, task_queue
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender

logger = structlog.get_logger(__name__)


class WebhookIntake:
    """Stores notices in groups and rings for those that a worker has to look at."""

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

    async def submit(self, notice: ProviderNotification) -> StoreResult:
        """Returns once the notice is committed; raises as `GroupCommit.submit` does."""
        return await self._group_commit.submit(notice)

    async def close(self) -> None:
        """Stores what waits, then stops."""
        await self._group_commit.close()

    def flush(self, notices: Sequence[ProviderNotification]) -> list[StoreResult]:
        """Stores a group in one transaction; a lost connection is tried once more, which is safe: the same event is
        stored once. When it fails the provider delivers again.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away, or refuses a single notice.

        """
        try:
            stored = self._transaction(notices)
        except OperationalError:
            stored = self._transaction(notices)
        failpoint("webhook.after_commit")
        self._task_sender.enqueue(task_queue.APPLY_PROVIDER_EVENTS, stored.waiting)
        failpoint("webhook.after_ring")
        told = [{"event_id": one.event_key[:64], "payment": one.payment_id} for one in notices[: logs.LOGGED_IDS_MAX]]
        logger.info("provider_webhooks.stored", events=told, count=len(notices), waiting=len(stored.waiting))
        return stored.receipts

    def _transaction(self, notices: Sequence[ProviderNotification]) -> StoredNotifications:
        with self._engine.begin() as connection:
            stored = inbox.store_notifications(connection, notices, self._clock.now(), grace=self._grace)
            failpoint("webhook.before_commit")
        return stored
