"""Delivery handles every form of HTTP response."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.simulator.delivery import NO_RESPONSE, Delivery
from deploy.simulator.options import Options


@asynccontextmanager
async def _receiver(answers: list[bytes], *, closes: bool) -> AsyncIterator[tuple[Delivery, list[bytes]]]:
    """Run a receiver with these raw responses; yield a delivery to it and the received bodies."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                heard.append(head + await reader.readexactly(length))
                answer = answers.pop(0)
                # In two pieces, as a slow network would.
                writer.write(answer[:20])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(answer[20:])
                if closes:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    delivery = Delivery(Options(webhook_url=f"http://127.0.0.1:{port}/hooks?from=paystream"))
    try:
        yield delivery, heard
    finally:
        delivery.stop()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\ncontent-length:   5\r\n\r\nhello", 202),
        (b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 401),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        (b"HTTP/1.0 503 Busy\r\n\r\nlater", 503),
        (b"SMTP says what?\r\n\r\n", NO_RESPONSE),
    ],
)
async def test_status_of_a_response(answer: bytes, status: int, closes: bool) -> None:
    # Given a receiver with this response that keeps or closes the connection
    async with _receiver([answer] * 6, closes=closes) as (delivery, heard):
        # When three bodies are sent one after the other
        statuses = [await delivery.send(b'{"number": %d}' % number) for number in range(3)]
        # Then each status is read, and each body arrives
        assert statuses == [status] * 3
        assert {request.partition(b"\r\n\r\n")[2] for request in heard} == {b'{"number": %d}' % n for n in range(3)}
        assert heard[0].startswith(b"POST /hooks?from=paystream HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_closed_port_gives_no_response() -> None:
    # Given a port that was just closed
    async with _receiver([], closes=True) as (delivery, _):
        pass
    # When a webhook is sent there, then there is no response and no exception
    assert await delivery.send(b"{}") == NO_RESPONSE


async def test_receiver_that_never_responds_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delivery has its own timeout."""
    monkeypatch.setattr("deploy.simulator.delivery.RESPONSE_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("deploy.simulator.delivery.TIMEOUT_CHECK_SECONDS", 0.01)
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with asyncio.timeout(5), silent as server:
        port = server.sockets[0].getsockname()[1]
        delivery = Delivery(Options(webhook_url=f"http://127.0.0.1:{port}/hooks"))
        assert await asyncio.gather(delivery.send(b"{}"), delivery.send(b"{}")) == [NO_RESPONSE, NO_RESPONSE]
        assert await delivery.send(b"{}") == NO_RESPONSE
        delivery.stop()
