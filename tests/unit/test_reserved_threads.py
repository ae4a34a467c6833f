"""Reserved threads: work other than instant payouts never occupies all threads of a process."""

import threading
from dataclasses import dataclass, field
from queue import Empty
from types import SimpleNamespace

import pytest

from workers.reserved_threads import INSTANT_QUEUE, ReservingWorkQueue, reserved_thread_count


@dataclass(order=True)
class Item:
    """A work queue item as Dramatiq makes it."""

    priority: int
    queue: str = field(compare=False)

    @property
    def message(self) -> SimpleNamespace:
        """Its message, reduced to the queue name."""
        return SimpleNamespace(queue_name=self.queue)


def other(priority: int = 20) -> Item:
    return Item(priority, "payouts")


def instant() -> Item:
    return Item(0, INSTANT_QUEUE)


def test_a_third_of_the_threads_is_reserved() -> None:
    """At least one of two or more; a single thread does everything."""
    assert [reserved_thread_count(threads) for threads in (1, 2, 3, 6, 8)] == [0, 1, 1, 2, 2]


def test_other_work_waits_while_only_reserved_threads_are_free() -> None:
    queue = ReservingWorkQueue(2)
    for item in (other(), other(), other()):
        queue.put(item)
    assert [queue.get(timeout=1).queue for _ in range(2)] == ["payouts", "payouts"]
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    queue.put(instant())
    assert queue.get(timeout=1).queue == INSTANT_QUEUE
    with pytest.raises(Empty):
        queue.get(timeout=0.01)


def test_finished_work_frees_its_thread_for_a_waiting_one() -> None:
    queue = ReservingWorkQueue(1)
    queue.put(other(10))
    queue.put(other(20))
    assert queue.get(timeout=1).priority == 10
    got = list[int]()
    waiting = threading.Thread(target=lambda: got.append(queue.get(timeout=30).priority))
    waiting.start()
    queue.task_done()
    waiting.join(10)
    assert got == [20]


def test_finished_instant_payout_frees_no_thread_for_other_work() -> None:
    queue = ReservingWorkQueue(1)
    queue.put(instant())
    queue.get(timeout=1)
    queue.task_done()
    queue.put(other())
    queue.put(other())
    queue.get(timeout=1)
    with pytest.raises(Empty):
        queue.get(timeout=0.01)


def test_non_blocking_get_empties_the_queue_at_shutdown() -> None:
    queue = ReservingWorkQueue(1)
    for item in (other(), other(), instant()):
        queue.put(item)
    queue.get(timeout=1)
    assert [queue.get_nowait().queue for _ in range(2)] == ["payouts", "payouts"]
    with pytest.raises(Empty):
        queue.get_nowait()
