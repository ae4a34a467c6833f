"""Group commit: nobody who waits is forgotten."""

import asyncio
from collections.abc import Sequence

from gateway.intake.group_commit import GroupCommit


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


def test_a_flush_that_breaks_leaves_nobody_waiting() -> None:
    """Not even where it raises what is no error; whoever comes then is answered, and the gateway can stop."""

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

    first, broken, last = asyncio.run(client())
    assert (first, last) == (12, 14)
    assert isinstance(broken, RuntimeError)
