"""One request to the API, repeated until its outcome is known or patience ends.

Every POST has an Idempotency-Key, so a repeat is the same request and not a second one: a lost answer, a 5xx or a
timeout says nothing about what happened, and the same key finds out.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import aiohttp

from shared.cli.client.connection import Connection
from shared.cli.client.errors import ApiRejected, ApiUnreachable

PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Between one try and the next where no answer came."""
FIRST_TRIES: Final = 2
"""How often a server is tried that has never answered: most likely its URL is wrong."""
LIMITED_SECONDS_MAX: Final = 600.0
"""How long one request waits for the rate limit, in all."""
SAY_EVERY_SECONDS: Final = 15.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=90, sock_connect=10)
USER_AGENT: Final = "ovnpay-cli"


class ApiResponse(NamedTuple):
    """A success."""

    data: Any
    replayed: bool
    """The answer of an earlier request under the same key."""
    tries: int


class _Lost(Exception):
    """No answer that says what happened; how long to wait where the server said so."""

    def __init__(self, why: str, retry_after_seconds: float | None = None, *, limited: bool = False) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds
        self.limited = limited


class Transport:
    """A connection in use. Closed by `close`."""

    def __init__(
        self,
        connection: Connection,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._say = say
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._answered = False
        self._limited_seconds = 0.0
        self._said_at_seconds = 0.0

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> ApiResponse:
        """The answer's data.

        Raises:
            Refused: the API said no, and meant it.
            Unreachable: no answer came; whatever the request was for may or may not have happened.

        """
        headers = {"Authorization": f"Bearer {self._connection.key}", "User-Agent": USER_AGENT}
        content = None
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
            headers["Content-Type"] = "application/json"
            content = b"{}" if body is None else json.dumps(body, ensure_ascii=False).encode()
        lost, waited_seconds = 0, 0.0
        while True:
            try:
                data, replayed = await self._once(method, path, query, content, headers)
                return ApiResponse(data, replayed, lost + 1)
            except _Lost as failed:
                if failed.limited:
                    pause_seconds = failed.retry_after_seconds or 1.0
                    waited_seconds += pause_seconds
                    if waited_seconds > LIMITED_SECONDS_MAX:
                        raise ApiUnreachable(f"The rate limit did not let {method} {path} through; try later") from None
                    self._waited(pause_seconds)
                else:
                    pause_seconds = self._pause(failed, lost, method)
                    lost += 1
                await self._sleep(pause_seconds)

    def _waited(self, pause_seconds: float) -> None:
        """Says that the rate limit is waited for: at first, and then now and again."""
        if self._limited_seconds >= self._said_at_seconds:
            self._say(f"the rate limit is reached: waiting {pause_seconds:.0f} s, and again where needed")
            self._said_at_seconds = self._limited_seconds + SAY_EVERY_SECONDS
        self._limited_seconds += pause_seconds

    def _pause(self, failed: _Lost, lost: int, method: str) -> float:
        tries_max = len(PAUSES_SECONDS) if self._answered else FIRST_TRIES
        if lost >= tries_max:
            known = "" if method == "GET" or not self._answered else "; whether it happened is not known"
            raise ApiUnreachable(
                f"{self._connection.url} gave no usable answer ({failed}), asked {lost + 1} times{known}"
            ) from None
        pause_seconds = min(max(failed.retry_after_seconds or 0.0, PAUSES_SECONDS[lost]), 60.0)
        same = ", the same request under the same Idempotency-Key" if method == "POST" else ""
        self._say(f"{failed}; asking again in {pause_seconds:.1f} s{same} (try {lost + 2} of {tries_max + 1})")
        return pause_seconds

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[Any, bool]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        try:
            async with self._session.request(
                method,
                f"{self._connection.url}{path}",
                params=query,
                data=content,
                headers=headers,
                allow_redirects=False,  # the key is for this server alone
            ) as response:
                raw = await response.read()
        except TimeoutError:
            raise _Lost("no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            raise _Lost(f"can't connect: {error.os_error.strerror or error.os_error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Lost(f"the connection broke ({type(error).__name__})") from None
        answer = _decoded(raw)
        if answer is not None and "success" in answer:
            self._answered = True
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        if response.status == 200 and answer is not None and answer.get("success") is True:
            return answer.get("data"), replayed
        raise _failure(response.status, response.headers, answer, replayed=replayed)


def _failure(
    status: int, headers: Mapping[str, str], answer: dict[str, Any] | None, *, replayed: bool
) -> _Lost | ApiRejected:
    """What an answer other than success means: every decision to ask again, or not to, in one place."""
    error = (answer or {}).get("error")
    error = error if isinstance(error, dict) else {}
    code, after = str(error.get("code", "")), _seconds(headers.get("Retry-After"))
    if status == 429:
        return _Lost("rate limited", after, limited=True)
    if status in (408, 500, 502, 503, 504) or code == "IDEMPOTENCY_KEY_IN_USE":
        return _Lost(f"the API answered {status} {code}".rstrip(), after)
    if not code or status < 400:
        return _Lost(f"an answer {status} that is not OVN Pay's; is the URL right?")
    details = error.get("details")
    request_id = (answer or {}).get("meta", {}).get("requestId") or headers.get("X-Request-Id", "")
    return ApiRejected(
        status,
        code,
        str(error.get("message", "refused")),
        details if isinstance(details, dict) else {},
        str(request_id),
        replayed=replayed,
    )


def _decoded(raw: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(raw)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _seconds(text: str | None) -> float | None:
    return min(float(text), 120.0) if text is not None and text.isascii() and text.isdigit() else None
