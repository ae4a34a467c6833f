"""The tasks' tables are complete."""

from shared.platform.task_queue import POLL_INTERVAL_MS, QUEUES, SEND_INSTANT_SUBMISSIONS, WAKE_UP_QUEUES


def test_every_queue_has_a_poll_interval() -> None:
    assert set(POLL_INTERVAL_MS) == set(QUEUES)


def test_workers_are_woken_for_instant_payouts() -> None:
    assert {SEND_INSTANT_SUBMISSIONS.queue} == WAKE_UP_QUEUES
