"""`ovnpay workers --queues`: queue names and their aliases."""

import argparse

import pytest

from shared.platform.task_queue import QUEUES
from workers.__main__ import ALIASES, _queues


def test_queues_are_accepted_by_name_and_alias() -> None:
    """Each once, in the order given."""
    assert _queues("instant,standard") == ("instant", "payouts")
    assert _queues(" payouts, standard ,webhooks,") == ("payouts", "customer_events")
    assert set(ALIASES.values()) <= set(QUEUES)
    assert not set(ALIASES) & set(QUEUES)


@pytest.mark.parametrize(
    ("text", "message"), [("instant,fast", "unknown queue: fast; the queues are"), (",", "no queue named")]
)
def test_unknown_queue_is_rejected_by_name(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        _queues(text)
