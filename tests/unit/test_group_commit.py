"""Group commit: nobody who waits is forgotten."""

import asyncio
from collections.abc import Sequence

from gateway.group_commit import GroupCommit


def test_who_comes_as_a_flush_ends_does_not_wait_for_the_next_to_come() -> None:
    """An answer wakes its client before the flush's task is quite over; what he then asks is flushed like any other."""

    def flush(items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]

    async def client() -> list[int]:
        group_commit: GroupCommit[int, int] = GroupCommit("test", flush, queue_size=10, group_size=10)
        async with asyncio.timeout(5):
            answers = [await group_commit.submit(number) for number in range(20)]
        await group_commit.close()
        return answers

    assert asyncio.run(client()) == [2 * number for number in range(20)]
