"""Invariants: a busy wallet breaks none, and each names exactly what breaks it."""

import pytest
import sqlalchemy as sa

from tests.integration.busy import Busy
from tests.integration.conftest import World


@pytest.fixture(scope="module")
def busy(engine: sa.Engine) -> Busy:
    """A wallet in which everything happens."""
    made = Busy(World(engine))
    made.live()
    return made


def test_a_busy_wallet_breaks_none(busy: Busy) -> None:
    """Payouts in every state, refused, retried, held, returned; batches, webhooks, keys."""
    assert busy.world.breaks() == []
