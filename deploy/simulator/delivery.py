"""Delivery of one webhook: a signed POST over a kept-alive connection.

Written on asyncio protocols: a delivery costs about a third of the CPU time of aiohttp's client, on cores shared with
the system under test. It supports what a webhook needs of HTTP/1.1: one request at a time, the response status,
keep-alive.
"""

import asyncio
import hmac
import re
import ssl
import time
from typing import cast

from yarl import URL

from deploy.simulator.options import Options

RESPONSE_TIMEOUT_SECONDS = 10.0
TIMEOUT_CHECK_SECONDS = 0.25
HEAD_BYTES_MAX = 64 * 1024
NO_RESPONSE = 0
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\s*(?:\r\n|$)")


class _Connection(asyncio.Protocol):
    """One connection to the receiver. It adds itself to `idle` when it can be reused, and to `awaiting`, with the time,
    while it waits for a response.
    """

    def __init__(self, idle: list["_Connection"], awaiting: dict["_Connection", float]) -> None:
        self._idle = idle
        self._awaiting = awaiting
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._response: asyncio.Future[int] | None = None

    def send(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; the result is the status of the response, or NO_RESPONSE."""
        loop = asyncio.get_running_loop()
        self._response = response = loop.create_future()
        if self._transport is None or self._transport.is_closing():
            self._finish(NO_RESPONSE)
        else:
            self._awaiting[self] = loop.time()
            self._transport.write(request)
        return response

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._idle:
            self._idle.remove(self)
        self._finish(NO_RESPONSE)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            if len(self._received) > HEAD_BYTES_MAX:
                self.close()
            return
        status = int(head[9:12]) if head[:5] == b"HTTP/" and head[9:12].isdigit() else NO_RESPONSE
        lowered = head.lower()
        length = _CONTENT_LENGTH.search(lowered)
        keep_alive = length is not None and b"\r\nconnection: close" not in lowered
        if keep_alive and length is not None and len(rest) < int(length.group(1)):
            return
        self._received = b""
        if keep_alive and self._response is not None:
            self._idle.append(self)
        else:
            self.close()
        self._finish(status)

    def _finish(self, status: int) -> None:
        self._awaiting.pop(self, None)
        if self._response is not None and not self._response.done():
            self._response.set_result(status)
        self._response = None


class Delivery:
    """Posts bodies to the webhook URL."""

    def __init__(self, options: Options) -> None:
        self._url = URL(options.webhook_url or "http://localhost")
        self._secret = options.webhook_secret
        self._idle: list[_Connection] = []
        self._awaiting: dict[_Connection, float] = {}
        """Connections that wait for a response, with the start time; longest first."""
        self._timeout_check: asyncio.TimerHandle | None = None
        port = "" if self._url.is_default_port() else f":{self._url.port}"
        self._head = (
            f"POST {self._url.raw_path_qs} HTTP/1.1\r\nHost: {self._url.raw_host}{port}\r\n"
            f"User-Agent: Paystream-Webhooks/1.0\r\nContent-Type: application/json\r\n"
        )
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None

    def stop(self) -> None:
        if self._timeout_check is not None:
            self._timeout_check.cancel()
        for connection in list(self._idle):
            connection.close()

    def _close_overdue(self) -> None:
        """Close connections whose response is overdue: one timer for all deliveries."""
        loop = asyncio.get_running_loop()
        overdue = loop.time() - RESPONSE_TIMEOUT_SECONDS
        for connection, since in list(self._awaiting.items()):
            if since > overdue:
                break
            connection.close()
        self._timeout_check = loop.call_later(TIMEOUT_CHECK_SECONDS, self._close_overdue) if self._awaiting else None

    async def send(self, body: bytes, *, forged: bool = False) -> int:
        """Post a body; return the status of the response, or NO_RESPONSE."""
        secret = f"not-{self._secret}" if forged else self._secret
        signature = sign_webhook(secret, body, int(time.time()))
        head = f"{self._head}X-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        if self._timeout_check is None:
            self._timeout_check = asyncio.get_running_loop().call_later(TIMEOUT_CHECK_SECONDS, self._close_overdue)
        if self._idle:
            status = await self._idle.pop().send(request)
            # The receiver may have closed the idle connection: retry on a new one.
            if status != NO_RESPONSE:
                return status
        connection = _Connection(self._idle, self._awaiting)
        connecting = asyncio.get_running_loop().create_connection(
            lambda: connection, self._url.host or "", self._url.port or 80, ssl=self._tls
        )
        try:
            await asyncio.wait_for(connecting, RESPONSE_TIMEOUT_SECONDS)
        except (TimeoutError, OSError):
            return NO_RESPONSE
        return await connection.send(request)


def sign_webhook(secret: str, body: bytes, at_seconds: int) -> str:
    """Return `X-Signature`: `t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`."""
    digest = hmac.digest(secret.encode(), b"%d." % at_seconds + body, "sha256").hex()
    return f"t={at_seconds},v1={digest}"
