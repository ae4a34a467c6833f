"""Departures: whether payments are stopped, and nothing may be promised that would move money."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import sqlalchemy as sa

from shared.holds.reconcile_only import is_reconcile_only

STATUS_CACHE_SECONDS: Final = 1.0

Read = Callable[[Callable[[sa.Connection], bool]], Awaitable[bool]]


class ReconcileOnlyStatus:
    """Knows it for a second at a time. What slips in meanwhile is written down and not sent: the database holds it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._stopped = False
        self._until = 0.0

    async def stopped(self) -> bool:
        """Whether payments are stopped while the provider's record is compared."""
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + STATUS_CACHE_SECONDS  # one asks, the others go by the answer before
            self._stopped = await self._read(is_reconcile_only)
        return self._stopped
