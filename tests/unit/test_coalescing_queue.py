"""A line: one thread serves it, and no word that is left with it is lost."""

import threading
import uuid

import pytest

from workers.coalescing_queue import CoalescingQueue, IdGroup


def ids(count: int) -> list[uuid.UUID]:
    """That many."""
    return [uuid.uuid4() for _ in range(count)]


def test_who_comes_while_it_is_served_leaves_word_and_returns() -> None:
    """What came meanwhile goes together in the next groups, each id once, in order."""
    line, groups = CoalescingQueue("test"), list[list[uuid.UUID]]()
    first, others = ids(1), ids(5)

    def perform(group: IdGroup) -> None:
        groups.append(list(group))
        if len(groups) == 1:
            for one in others:
                line.work([one, *others[:1]], perform, 3)

    line.work(first, perform, 3)
    assert groups == [first, others[:3], others[3:]]


def test_a_group_that_fails_does_not_take_the_others_with_it() -> None:
    """They are worked on, and the one who served the line says what has failed. Then it is free again."""
    line, done = CoalescingQueue("test"), list[uuid.UUID]()
    wrong, *right = ids(4)

    def perform(group: IdGroup) -> None:
        if wrong in group:
            raise ValueError("wrong")
        done.extend(group)

    with pytest.raises(ValueError, match="wrong"):
        line.work([wrong, *right], perform, 2)
    assert done == right[1:]
    line.work(right[:1], perform, 2)
    assert done == [*right[1:], right[0]]


def test_who_is_torn_away_leaves_the_line_to_the_next_who_comes() -> None:
    """What waits is worked on by him, too; only the group that was under way is left to the tick."""
    line, done = CoalescingQueue("test"), list[uuid.UUID]()
    torn, waiting, after = ids(3)

    def perform(group: IdGroup) -> None:
        if torn in group:
            raise SystemExit
        done.extend(group)

    with pytest.raises(SystemExit):
        line.work([torn, waiting], perform, 1)
    line.work([after], perform, 1)
    assert done == [waiting, after]


def test_what_is_put_back_waits_behind_the_others_for_as_long_as_it_has() -> None:
    """And it is there once."""
    line, seen = CoalescingQueue("test"), list[IdGroup]()
    held, free = ids(2)

    def perform(group: IdGroup) -> None:
        seen.append(group)
        if len(seen) == 1:
            line.put_back(group)

    line.work([held, free], perform, 1)
    assert [list(group) for group in seen] == [[held], [free], [held]]
    assert seen[0] == seen[2]


def test_no_word_is_lost_between_threads() -> None:
    """Whoever comes at the very moment at which the line turns empty is worked on, by himself or by the other."""
    line, done = CoalescingQueue("test"), list[uuid.UUID]()
    told = [ids(200) for _ in range(4)]
    at_work = threading.Lock()

    def perform(group: IdGroup) -> None:
        assert at_work.acquire(blocking=False), "two serve the line"
        done.extend(group)
        at_work.release()

    def tell(mine: list[uuid.UUID]) -> None:
        for one in mine:
            line.work([one], perform, 10)

    threads = [threading.Thread(target=tell, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(one for mine in told for one in mine)
