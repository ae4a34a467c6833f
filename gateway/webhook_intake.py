"""The intake of the provider's webhooks: verified and read by the handler, stored here by group commit."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from gateway.group_commit import GroupCommit
from shared import broker, provider_events
from shared.broker import Doorbell
from shared.clock import Clock
from shared.provider_events import Notice
from shared.settings import Settings


class WebhookIntake:
    """Stores notices in groups and rings for those that are new."""

    def __init__(self, settings: Settings, engine: sa.Engine, doorbell: Doorbell, clock: Clock) -> None:
        self._engine = engine
        self._doorbell = doorbell
        self._clock = clock
        self._grace = timedelta(seconds=settings.doorbell_grace_seconds)
        self._group_commit: GroupCommit[Notice, None] = GroupCommit(
            "webhooks",
            self.flush,
            queue_size=settings.intake_queue_size,
            group_size=settings.intake_group_size,
        )

    async def submit(self, notice: Notice) -> None:
        """Returns once the notice is committed; raises as `GroupCommit.submit` does."""
        await self._group_commit.submit(notice)

    async def close(self) -> None:
        """Stores what waits, then stops."""
        await self._group_commit.close()

    def flush(self, notices: Sequence[Notice]) -> list[None]:
        """Stores a group in one transaction; a lost connection is tried once more, which is safe: the same event is
        stored once. When it fails the provider delivers again."""
        try:
            new = self._transaction(notices)
        except OperationalError:
            new = self._transaction(notices)
        self._doorbell.ring(broker.APPLY_PROVIDER_EVENTS, new)
        return [None] * len(notices)

    def _transaction(self, notices: Sequence[Notice]) -> list[uuid.UUID]:
        with self._engine.begin() as connection:
            return provider_events.store(connection, notices, self._clock.now(), grace=self._grace)
