"""The number of large bodies is limited before they are read, to bound the gateway's memory."""

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.raw_http import RawAnswer, chunked, exchange, request

QUOTE = "/api/v1/batches/quote"
LARGE = json.dumps({"name": "x" * 100_000, "payouts": [{}]}).encode()
"""Rejected after it is read."""
IN_CHUNKS = (("Transfer-Encoding", b"chunked"),)


def wire(customer: Customer, body: bytes, *, in_chunks: bool = False) -> bytes:
    """Encode a request for a quote."""
    headers = [("Authorization", customer.headers["Authorization"].encode()), ("Content-Type", b"application/json")]
    if in_chunks:
        return request("POST", QUOTE.encode(), [*headers, *IN_CHUNKS], chunked(body))
    return request("POST", QUOTE.encode(), headers, body)


def sent(customer: Customer, body: bytes, *, in_chunks: bool = False) -> RawAnswer:
    """Send a request for a quote."""
    return exchange(customer.url, [wire(customer, body, in_chunks=in_chunks)], 10, method="POST")


@contextmanager
def stuck(customer: Customer, number: int, *, in_chunks: bool) -> Iterator[list[socket.socket]]:
    """Open connections that send incomplete large requests."""
    address = urlsplit(customer.url)
    with ExitStack() as opened:
        connections = [
            opened.enter_context(socket.create_connection((address.hostname or "", address.port or 80)))
            for _ in range(number)
        ]
        for connection in connections:
            connection.sendall(wire(customer, LARGE, in_chunks=in_chunks)[:-1_000])
        yield connections


@pytest.mark.parametrize("in_chunks", [False, True], ids=["announced", "in chunks"])
def test_third_large_body_of_a_wallet_is_rejected_unread(
    customer: Customer, production: Customer, *, in_chunks: bool
) -> None:
    # Given three large bodies of one wallet that are being received
    with stuck(customer, 3, in_chunks=in_chunks) as connections:
        # Then one is rejected at once: the limit is two
        (refused,), _, _ = select.select(connections, [], [], 5)
        assert refused.recv(65_536).startswith(b"HTTP/1.1 503 ")
        # When a fourth is sent, then it is rejected with a time to retry
        answer = sent(customer, LARGE, in_chunks=in_chunks)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        # and small bodies are accepted meanwhile, too large ones get a 413, and another wallet has its own limit
        assert sent(customer, b'{"name": "x", "payouts": []}').status == 400
        assert sent(customer, LARGE + b" " * 4_194_304).status == 413
        assert sent(production, LARGE, in_chunks=in_chunks).status == 400
    # When the connections are closed, then the limit is free again
    until(lambda: sent(customer, LARGE, in_chunks=in_chunks).status == 400, "the limit is free again")
