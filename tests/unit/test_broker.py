"""The doorbell's table of contents."""

from shared.broker import HEARD_WITHIN_MS, QUEUES, SEND_INSTANT_SUBMISSIONS


def test_every_queue_says_how_soon_it_is_heard() -> None:
    """Instant payouts soonest."""
    assert set(HEARD_WITHIN_MS) == set(QUEUES)
    assert min(HEARD_WITHIN_MS.values()) == HEARD_WITHIN_MS[SEND_INSTANT_SUBMISSIONS.queue]
