"""The intake of the provider's webhooks: verified and read by the handler, stored here by group commit."""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from gateway.intake.group_commit import GroupCommit
from shared import inbox
from shared.inbox import Notice, Receipt, Stored
from shared.platform import logs, task_queue
from shared.platform.clock import Clock
from shared.platform.failpoints import crash_point
from shared.platform.settings import Settings
from shared.platform.task_queue import Doorbell

logger = structlog.get_logger(__name__)


class WebhookIntake:
    """Stores notices in groups and rings for those that a worker has to look at."""

    def __init__(self, settings: Settings, engine: sa.Engine, doorbell: Doorbell, clock: Clock) -> None:
        self._engine = engine
        self._doorbell = doorbell
        self._clock = clock
        self._grace = timedelta(seconds=settings.doorbell_grace_seconds)
        self._group_commit: GroupCommit[Notice, Receipt] = GroupCommit(
            "webhooks",
            self.flush,
            queue_size=settings.intake_queue_size,
            group_size=settings.intake_group_size,
        )

    async def submit(self, notice: Notice) -> Receipt:
        """Returns once the notice is committed; raises as `GroupCommit.submit` does."""
        return await self._group_commit.submit(notice)

    async def close(self) -> None:
        """Stores what waits, then stops."""
        await self._group_commit.close()

    def flush(self, notices: Sequence[Notice]) -> list[Receipt]:
        """Stores a group in one transaction; a lost connection is tried once more, which is safe: the same event is
        stored once. When it fails the provider delivers again.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away, or refuses a single notice.

        """
        try:
            stored = self._transaction(notices)
        except OperationalError:
            stored = self._transaction(notices)
        crash_point("webhook.after_commit")
        self._doorbell.ring(task_queue.APPLY_PROVIDER_EVENTS, stored.waiting)
        crash_point("webhook.after_ring")
        told = [{"event_id": one.event_key[:64], "payment": one.payment_id} for one in notices[: logs.IDS_MOST]]
        logger.info("provider_webhooks.stored", events=told, count=len(notices), waiting=len(stored.waiting))
        return stored.receipts

    def _transaction(self, notices: Sequence[Notice]) -> Stored:
        with self._engine.begin() as connection:
            stored = inbox.store(connection, notices, self._clock.now(), grace=self._grace)
            crash_point("webhook.before_commit")
        return stored
