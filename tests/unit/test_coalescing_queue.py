"""Coalescing queue: one thread drains it, and no id is lost between threads."""

import threading
import uuid

import pytest

from workers.coalescing_queue import CoalescingQueue, IdGroup


def make_ids(count: int) -> list[uuid.UUID]:
    return [uuid.uuid4() for _ in range(count)]


def test_ids_added_while_it_is_drained_go_into_the_next_groups() -> None:
    """Each id once, in the order of arrival; the threads that added them return."""
    queue, groups = CoalescingQueue("test"), list[list[uuid.UUID]]()
    first, others = make_ids(1), make_ids(5)

    def handle(group: IdGroup) -> None:
        groups.append(list(group))
        if len(groups) == 1:
            for one in others:
                queue.process([one, *others[:1]], handle, 3)

    queue.process(first, handle, 3)
    assert groups == [first, others[:3], others[3:]]


def test_failed_group_does_not_stop_the_others() -> None:
    """The draining thread raises the error at the end, and the queue can be drained again."""
    queue, done = CoalescingQueue("test"), list[uuid.UUID]()
    wrong, *right = make_ids(4)

    def handle(group: IdGroup) -> None:
        if wrong in group:
            raise ValueError("wrong")
        done.extend(group)

    with pytest.raises(ValueError, match="wrong"):
        queue.process([wrong, *right], handle, 2)
    assert done == right[1:]
    queue.process(right[:1], handle, 2)
    assert done == [*right[1:], right[0]]


def test_next_thread_drains_the_queue_of_a_thread_that_was_ended() -> None:
    """Only the group in progress is left to the tick."""
    queue, done = CoalescingQueue("test"), list[uuid.UUID]()
    ended, waiting, after = make_ids(3)

    def handle(group: IdGroup) -> None:
        if ended in group:
            raise SystemExit
        done.extend(group)

    with pytest.raises(SystemExit):
        queue.process([ended, waiting], handle, 1)
    queue.process([after], handle, 1)
    assert done == [waiting, after]


def test_requeued_ids_go_last_and_keep_their_times() -> None:
    queue, seen = CoalescingQueue("test"), list[IdGroup]()
    locked, free = make_ids(2)

    def handle(group: IdGroup) -> None:
        seen.append(group)
        if len(seen) == 1:
            queue.requeue(group)

    queue.process([locked, free], handle, 1)
    assert [list(group) for group in seen] == [[locked], [free], [locked]]
    assert seen[0] == seen[2]


def test_no_id_is_lost_between_threads() -> None:
    """An id that is added just when the queue turns empty is handled, by either thread."""
    queue, done = CoalescingQueue("test"), list[uuid.UUID]()
    parts = [make_ids(200) for _ in range(4)]
    draining = threading.Lock()

    def handle(group: IdGroup) -> None:
        assert draining.acquire(blocking=False), "two threads drain the queue"
        done.extend(group)
        draining.release()

    def add_one_by_one(part: list[uuid.UUID]) -> None:
        for one in part:
            queue.process([one], handle, 10)

    threads = [threading.Thread(target=add_one_by_one, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(one for part in parts for one in part)
