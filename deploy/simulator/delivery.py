"""How does one webhook reach its receiver? A signed POST over a kept-alive connection.

Written on asyncio's protocols and not on aiohttp's client, because deliveries are most of what the simulator does:
one costs about a third of the processor time this way, on cores it shares with the system under test. It speaks as
much HTTP/1.1 as a webhook needs: one request at a time, the answer's status, and whether the connection may be kept.
"""

import asyncio
import re
import ssl
import time
from typing import cast

from yarl import URL

from deploy.simulator.options import Options
from deploy.simulator.signature import sign_webhook

RESPONSE_TIMEOUT_SECONDS = 10.0
TIMEOUT_CHECK_SECONDS = 0.25
HEAD_BYTES_MAX = 64 * 1024
NO_RESPONSE = 0
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\s*(?:\r\n|$)")


class _Connection(asyncio.Protocol):
    """One connection to the receiver; `idle` is where it puts itself when it may be used again, and `asked` where it
    is while it waits for an answer, with the time since when.
    """

    def __init__(self, idle: list["_Connection"], asked: dict["_Connection", float]) -> None:
        self._idle = idle
        self._asked = asked
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[int] | None = None

    def send(self, request: bytes) -> asyncio.Future[int]:
        """The status of the answer, or NO_ANSWER."""
        loop = asyncio.get_running_loop()
        self._answer = answer = loop.create_future()
        if self._transport is None or self._transport.is_closing():
            self._end(NO_RESPONSE)
        else:
            self._asked[self] = loop.time()
            self._transport.write(request)
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._idle:
            self._idle.remove(self)
        self._end(NO_RESPONSE)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            if len(self._received) > HEAD_BYTES_MAX:
                self.close()
            return
        status = int(head[9:12]) if head[:5] == b"HTTP/" and head[9:12].isdigit() else NO_RESPONSE
        lowered = head.lower()
        length = _LENGTH.search(lowered)
        may_keep = length is not None and b"\r\nconnection: close" not in lowered
        if may_keep and length is not None and len(rest) < int(length.group(1)):
            return
        self._received = b""
        if may_keep and self._answer is not None:
            self._idle.append(self)
        else:
            self.close()
        self._end(status)

    def _end(self, status: int) -> None:
        self._asked.pop(self, None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)
        self._answer = None


class Delivery:
    """Posts bodies to the webhook URL and says how each was answered."""

    def __init__(self, options: Options) -> None:
        self._url = URL(options.webhook_url or "http://localhost")
        self._secret = options.webhook_secret
        self._idle: list[_Connection] = []
        self._asked: dict[_Connection, float] = {}
        """Those that wait for an answer, by since when: the longest first."""
        self._look: asyncio.TimerHandle | None = None
        port = "" if self._url.is_default_port() else f":{self._url.port}"
        self._head = (
            f"POST {self._url.raw_path_qs} HTTP/1.1\r\nHost: {self._url.raw_host}{port}\r\n"
            f"User-Agent: Paystream-Webhooks/1.0\r\nContent-Type: application/json\r\n"
        )
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None

    def stop(self) -> None:
        if self._look is not None:
            self._look.cancel()
        for connection in list(self._idle):
            connection.close()

    def _give_up(self) -> None:
        """Closes the connections whose answer takes too long: one timer for all, not one for each delivery."""
        loop = asyncio.get_running_loop()
        overdue = loop.time() - RESPONSE_TIMEOUT_SECONDS
        for connection, since in list(self._asked.items()):
            if since > overdue:
                break
            connection.close()
        self._look = loop.call_later(TIMEOUT_CHECK_SECONDS, self._give_up) if self._asked else None

    async def send(self, body: bytes, *, forged: bool = False) -> int:
        """The HTTP status of the answer, or NO_ANSWER."""
        secret = f"not-{self._secret}" if forged else self._secret
        signature = sign_webhook(secret, body, int(time.time()))
        head = f"{self._head}X-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(TIMEOUT_CHECK_SECONDS, self._give_up)
        if self._idle:
            status = await self._idle.pop().send(request)
            # The receiver may have closed a kept connection just now: that is no refusal, ask on a new one.
            if status != NO_RESPONSE:
                return status
        connection = _Connection(self._idle, self._asked)
        connecting = asyncio.get_running_loop().create_connection(
            lambda: connection, self._url.host or "", self._url.port or 80, ssl=self._tls
        )
        try:
            await asyncio.wait_for(connecting, RESPONSE_TIMEOUT_SECONDS)
        except (TimeoutError, OSError):
            return NO_RESPONSE
        return await connection.send(request)
