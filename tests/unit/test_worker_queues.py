"""`ovnpay workers --queues`: real names and those that people use; a wrong one is named."""

import argparse

import pytest

from shared.platform.task_queue import QUEUES
from workers.__main__ import ALIASES, _queues


def test_queues_are_known_by_both_names() -> None:
    """Each once, in the order given."""
    assert _queues("instant,standard") == ("instant", "payouts")
    assert _queues(" payouts, standard ,webhooks,") == ("payouts", "customer_events")
    assert set(ALIASES.values()) <= set(QUEUES)
    assert not set(ALIASES) & set(QUEUES)


@pytest.mark.parametrize(("text", "says"), [("instant,fast", "no queue fast; there are"), (",", "no queue named")])
def test_an_unknown_queue_is_named(text: str, says: str) -> None:
    """And the known ones with it."""
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        _queues(text)
