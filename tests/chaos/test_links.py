"""A link passes everything until a fault is injected, and finds the reply to COMMIT in any chunks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.chaos.commit_replies import ServerReplies
from tests.chaos.links import Link


def message(kind: str, content: bytes) -> bytes:
    """Encode a message as a Postgres server does."""
    return kind.encode() + (len(content) + 4).to_bytes(4) + content


ROW = message("D", b"\0\1\0\0\0\7COMMIT\0")
SELECTED, COMMITTED = message("C", b"SELECT 1\0"), message("C", b"COMMIT\0")
READY = message("Z", b"I")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_commit_reply_is_found_in_any_chunks(size: int) -> None:
    before, stream = ROW + SELECTED + READY, ROW + SELECTED + READY + COMMITTED + READY
    replies, passed = ServerReplies(lambda: True), b""
    for start in range(0, len(stream), size):
        chunk, ends = replies.feed(stream[start : start + size])
        passed += chunk
        if ends:
            break
    # Everything before it was passed, also a row that only contains COMMIT, and nothing of the reply itself
    assert ends
    assert passed == before


@pytest.mark.parametrize("size", [1, 4, 100])
def test_stream_is_unchanged_without_a_loss(size: int) -> None:
    stream = ROW + SELECTED + COMMITTED + READY
    replies = ServerReplies(lambda: False)
    fed = [replies.feed(stream[start : start + size]) for start in range(0, len(stream), size)]
    assert b"".join(chunk for chunk, _ in fed) == stream
    assert not any(ends for _, ends in fed)


def test_letters_before_the_first_message_are_not_parsed() -> None:
    replies = ServerReplies(lambda: True)
    for code in (80877104, 80877103):
        replies.observe_request((8).to_bytes(4) + code.to_bytes(4))
        assert replies.feed(b"N") == (b"N", False)
    replies.observe_request((20).to_bytes(4) + (196608).to_bytes(4) + b"user\0pay\0\0\0\0\0")
    assert replies.feed(READY + COMMITTED) == (READY, True)


@asynccontextmanager
async def echo(answer: Callable[[bytes], bytes], *, speaks_postgres: bool = False) -> AsyncIterator[Link]:
    """Open a link to a server that answers each chunk."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1000):
                writer.write(answer(chunk))
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link("client>server", [server.sockets[0].getsockname()[1]], speaks_postgres=speaks_postgres)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()
        server.close()


async def send(link: Link, text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a text; return the answer, empty if the connection ended."""
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(1000), 5)
    except ConnectionError:
        return b""


def run_scenario(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))  # type: ignore[arg-type]


def test_link_passes_everything_until_it_is_reset() -> None:
    async def scenario() -> None:
        async with echo(bytes.upper) as link:
            ends = await asyncio.open_connection("127.0.0.1", link.port)
            assert await send(link, b"hello", *ends) == b"HELLO"
            assert len(link.opened) == 1
            link.reset()
            assert await send(link, b"again", *ends) == b""
            ends[1].close()

    run_scenario(scenario)


def test_link_refuses_until_it_is_healed() -> None:
    async def scenario() -> None:
        async with echo(bytes.upper) as link:
            link.refuses = True
            first = await asyncio.open_connection("127.0.0.1", link.port)
            assert await send(link, b"hello", *first) == b""
            link.heal()
            second = await asyncio.open_connection("127.0.0.1", link.port)
            assert await send(link, b"hello", *second) == b"HELLO"
            for _, writer in (first, second):
                writer.close()

    run_scenario(scenario)


def test_commit_reply_is_dropped_as_often_as_configured() -> None:
    async def scenario() -> None:
        async with echo(lambda _: COMMITTED + READY, speaks_postgres=True) as link:
            link.commits_to_lose = 1
            first = await asyncio.open_connection("127.0.0.1", link.port)
            assert await send(link, b"Q....COMMIT", *first) == b""
            second = await asyncio.open_connection("127.0.0.1", link.port)
            assert await send(link, b"Q....COMMIT", *second) == COMMITTED + READY
            assert link.commits_lost == 1
            for _, writer in (first, second):
                writer.close()

    run_scenario(scenario)
