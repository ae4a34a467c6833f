"""Seats: what is not of instant payouts never occupies all threads of a process."""

import threading
from dataclasses import dataclass, field
from queue import Empty
from types import SimpleNamespace

import pytest

from workers.reserved_threads import INSTANT_QUEUE, ReservingWorkQueue, reserved_thread_count


@dataclass(order=True)
class Item:
    """A message in the line, as Dramatiq puts it there."""

    priority: int
    queue: str = field(compare=False)

    @property
    def message(self) -> SimpleNamespace:
        """Its message, of which only the queue matters here."""
        return SimpleNamespace(queue_name=self.queue)


def other(priority: int = 20) -> Item:
    """Any other work."""
    return Item(priority, "payouts")


def instant() -> Item:
    """An instant payout's."""
    return Item(0, INSTANT_QUEUE)


def test_a_third_of_the_threads_is_kept_free_and_one_at_the_least() -> None:
    """A lone thread does everything."""
    assert [reserved_thread_count(threads) for threads in (1, 2, 3, 6, 8)] == [0, 1, 1, 2, 2]


def test_the_last_seats_are_for_instant_payouts() -> None:
    """Given two seats taken, what else waits has to wait, an instant payout begins; and then the next of the others."""
    line = ReservingWorkQueue(2)
    for item in (other(), other(), other()):
        line.put(item)
    assert [line.get(timeout=1).queue for _ in range(2)] == ["payouts", "payouts"]
    with pytest.raises(Empty):
        line.get(timeout=0.01)
    line.put(instant())
    assert line.get(timeout=1).queue == INSTANT_QUEUE
    with pytest.raises(Empty):
        line.get(timeout=0.01)


def test_a_seat_is_free_again_when_its_work_is_done() -> None:
    """Whoever waits for it gets it at once, however long he would wait."""
    line = ReservingWorkQueue(1)
    line.put(other(10))
    line.put(other(20))
    assert line.get(timeout=1).priority == 10
    got = list[int]()
    waiting = threading.Thread(target=lambda: got.append(line.get(timeout=30).priority))
    waiting.start()
    line.task_done()
    waiting.join(10)
    assert got == [20]


def test_an_instant_payouts_end_frees_no_seat() -> None:
    """It took none."""
    line = ReservingWorkQueue(1)
    line.put(instant())
    line.get(timeout=1)
    line.task_done()
    line.put(other())
    line.put(other())
    line.get(timeout=1)
    with pytest.raises(Empty):
        line.get(timeout=0.01)


def test_at_the_end_all_that_waits_is_handed_back() -> None:
    """Seats or not: who takes without waiting empties the line."""
    line = ReservingWorkQueue(1)
    for item in (other(), other(), instant()):
        line.put(item)
    line.get(timeout=1)
    assert [line.get_nowait().queue for _ in range(2)] == ["payouts", "payouts"]
    with pytest.raises(Empty):
        line.get_nowait()
