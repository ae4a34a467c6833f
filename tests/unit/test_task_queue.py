"""The doorbell's table of contents."""

from shared.platform.task_queue import POLL_INTERVAL_MS, QUEUES, SEND_INSTANT_SUBMISSIONS, WAKE_UP_QUEUES


def test_every_queue_says_how_soon_it_is_heard() -> None:
    """And for instant payouts somebody is woken."""
    assert set(POLL_INTERVAL_MS) == set(QUEUES)
    assert {SEND_INSTANT_SUBMISSIONS.queue} == WAKE_UP_QUEUES
