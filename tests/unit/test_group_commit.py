"""Group commit: each waiting item is answered."""

import asyncio
from collections.abc import Sequence

from gateway.intake.group_commit import GroupCommit


def test_item_submitted_as_a_flush_ends_is_flushed_without_another_one() -> None:
    """An answer wakes its client before the flushing thread is done; the client's next item must not be missed."""

    def flush(items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]

    async def client() -> list[int]:
        group_commit: GroupCommit[int, int] = GroupCommit("test", flush, queue_size=10, group_size=10)
        async with asyncio.timeout(5):
            answers = [await group_commit.submit(number) for number in range(20)]
        await group_commit.close()
        return answers

    assert asyncio.run(client()) == [2 * number for number in range(20)]


def test_flush_that_raises_answers_its_items_and_the_next_ones() -> None:
    """Even if it raises SystemExit."""

    def flush(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise SystemExit("thirteen")
        return list(items)

    async def client() -> list[int | BaseException]:
        group_commit: GroupCommit[int, int] = GroupCommit("test", flush, queue_size=10, group_size=1)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*map(group_commit.submit, (12, 13, 14)), return_exceptions=True)
            await group_commit.close()
        return list(answers)

    first, failed, last = asyncio.run(client())
    assert (first, last) == (12, 14)
    assert isinstance(failed, RuntimeError)
