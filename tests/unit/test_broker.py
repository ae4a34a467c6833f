"""The doorbell's table of contents."""

from shared.platform.task_queue import HEARD_WITHIN_MS, QUEUES, SEND_INSTANT_SUBMISSIONS, WAKES


def test_every_queue_says_how_soon_it_is_heard() -> None:
    """And for instant payouts somebody is woken."""
    assert set(HEARD_WITHIN_MS) == set(QUEUES)
    assert {SEND_INSTANT_SUBMISSIONS.queue} == WAKES
