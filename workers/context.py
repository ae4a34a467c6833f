"""What an actor needs: made once in each worker process, after the fork."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from shared.broker import Doorbell
from shared.clock import Clock, SystemClock
from shared.db import engine_for
from shared.models.payouts import Rail
from shared.paystream.client import Paystream
from shared.settings import Settings


@dataclass
class Context:
    """A worker process's connections to the world."""

    settings: Settings
    engine: sa.Engine
    doorbell: Doorbell
    paystream: Paystream
    clock: Clock

    @property
    def grace(self) -> timedelta:
        """How long a doorbell has to be heard before the tick rings again."""
        return timedelta(seconds=self.settings.doorbell_grace_seconds)

    def poll_after(self, rail: Rail) -> timedelta:
        """How long a payout on this rail waits for its webhook."""
        seconds: float = getattr(self.settings, f"poll_after_{rail.value}_seconds")
        return timedelta(seconds=seconds)

    def close(self) -> None:
        """Rings what is waiting, then closes the connections."""
        self.doorbell.close()
        self.paystream.close()
        self.engine.dispose()


_current: Context | None = None


def open_context(settings: Settings, clock: Clock | None = None) -> Context:
    """Makes this process's context."""
    global _current
    _current = Context(
        settings=settings,
        engine=engine_for(settings, "workers"),
        doorbell=Doorbell(settings),
        paystream=Paystream(settings),
        clock=clock or SystemClock(),
    )
    return _current


def current() -> Context:
    """This process's context."""
    assert _current is not None, "open_context was not called in this process"
    return _current
