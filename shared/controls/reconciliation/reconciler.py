"""The dependencies of a comparison."""

from typing import NamedTuple

import sqlalchemy as sa

from shared.controls.reconciliation.compare import GracePeriods, grace_periods
from shared.controls.reconciliation.provider_pages import WaitFunction
from shared.platform.clock import Clock
from shared.platform.settings import Settings
from shared.provider.client import PaystreamClient
from shared.schema.organizations import Mode


class Reconciler(NamedTuple):
    engine: sa.Engine
    paystream: PaystreamClient
    clock: Clock
    grace_periods: GracePeriods
    wait: WaitFunction
    """Waits until the provider's limit allows another call; may raise to give up."""


def make_reconciler(
    settings: Settings, engine: sa.Engine, paystream: PaystreamClient, clock: Clock, wait: WaitFunction
) -> Reconciler:
    """Make a reconciler with the settings' grace periods."""
    return Reconciler(engine, paystream, clock, grace_periods(settings), wait)


def configured_modes(settings: Settings) -> list[str]:
    """Return the modes for which a provider key is set."""
    keys = {Mode.SANDBOX.value: settings.paystream_test_key, Mode.PRODUCTION.value: settings.paystream_live_key}
    return [mode for mode, key in keys.items() if key]
