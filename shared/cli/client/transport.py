"""HTTP requests to the API, repeated with the same Idempotency-Key until their outcome is known."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import aiohttp

from shared.cli.client.connection import Connection
from shared.cli.client.errors import ApiRejected, ApiUnreachable

PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Pauses between attempts without a usable response."""
FIRST_RETRIES: Final = 2
"""Retries of a server that has never given a usable response; its URL is probably wrong."""
RATE_LIMITED_SECONDS_MAX: Final = 600.0
"""Longest time that one request waits for the rate limit in total."""
INFO_EVERY_SECONDS: Final = 15.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=90, sock_connect=10)
USER_AGENT: Final = "ovnpay-cli"


class ApiResponse(NamedTuple):
    """A successful response."""

    data: Any
    is_replay: bool
    """Whether this is the stored response to an earlier request with the same Idempotency-Key."""
    attempts: int


class _NoUsableResponse(Exception):
    """The outcome of a request is unknown, or it was rate limited."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None, *, is_rate_limited: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.is_rate_limited = is_rate_limited


class Transport:
    """Sends requests with one key."""

    def __init__(
        self,
        connection: Connection,
        info: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._info = info
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._has_responded = False
        self._rate_limited_seconds = 0.0
        self._next_info_at_seconds = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> ApiResponse:
        """Send a request, repeat it while its outcome is unknown, and return its data.

        Raises:
            ApiRejected: the API responded with a definite error.
            ApiUnreachable: all attempts gave no usable response; the request may or may not have taken effect.

        """
        headers = {"Authorization": f"Bearer {self._connection.key}", "User-Agent": USER_AGENT}
        content = None
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
            headers["Content-Type"] = "application/json"
            content = b"{}" if body is None else json.dumps(body, ensure_ascii=False).encode()
        failures, waited_seconds = 0, 0.0
        while True:
            try:
                data, is_replay = await self._send(method, path, query, content, headers)
                return ApiResponse(data, is_replay, failures + 1)
            except _NoUsableResponse as failure:
                if failure.is_rate_limited:
                    pause_seconds = failure.retry_after_seconds or 1.0
                    waited_seconds += pause_seconds
                    if waited_seconds > RATE_LIMITED_SECONDS_MAX:
                        raise ApiUnreachable(
                            f"{method} {path} stayed rate limited for {RATE_LIMITED_SECONDS_MAX:.0f} s; try later"
                        ) from None
                    self._report_rate_limit(pause_seconds)
                else:
                    pause_seconds = self._pause_before_retry(failure, failures, method)
                    failures += 1
                await self._sleep(pause_seconds)

    def _report_rate_limit(self, pause_seconds: float) -> None:
        if self._rate_limited_seconds >= self._next_info_at_seconds:
            self._info(f"rate limited: waiting {pause_seconds:.0f} s, repeatedly if needed")
            self._next_info_at_seconds = self._rate_limited_seconds + INFO_EVERY_SECONDS
        self._rate_limited_seconds += pause_seconds

    def _pause_before_retry(self, failure: _NoUsableResponse, failures: int, method: str) -> float:
        retries_max = len(PAUSES_SECONDS) if self._has_responded else FIRST_RETRIES
        if failures >= retries_max:
            unknown = "" if method == "GET" or not self._has_responded else "; the outcome is not known"
            raise ApiUnreachable(
                f"{self._connection.url} gave no usable response ({failure}) in {failures + 1} attempts{unknown}"
            ) from None
        pause_seconds = min(max(failure.retry_after_seconds or 0.0, PAUSES_SECONDS[failures]), 60.0)
        same_key = ", with the same Idempotency-Key" if method == "POST" else ""
        attempt = f"attempt {failures + 2} of {retries_max + 1}"
        self._info(f"{failure}; repeating the request in {pause_seconds:.1f} s{same_key} ({attempt})")
        return pause_seconds

    async def _send(
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
                allow_redirects=False,  # a redirect could send the key to another server
            ) as response:
                raw = await response.read()
        except TimeoutError:
            raise _NoUsableResponse("timeout") from None
        except aiohttp.ClientConnectorError as error:
            raise _NoUsableResponse(f"can't connect: {error.os_error.strerror or error.os_error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _NoUsableResponse(f"the connection broke ({type(error).__name__})") from None
        envelope = _decode(raw)
        if envelope is not None and "success" in envelope:
            self._has_responded = True
        is_replay = response.headers.get("Idempotent-Replayed") == "true"
        if response.status == 200 and envelope is not None and envelope.get("success") is True:
            return envelope.get("data"), is_replay
        raise _classify_failure(response.status, response.headers, envelope, is_replay=is_replay)


def _classify_failure(
    status: int, headers: Mapping[str, str], envelope: dict[str, Any] | None, *, is_replay: bool
) -> _NoUsableResponse | ApiRejected:
    """Decide, here only, whether a response is repeated or is a definite error."""
    error = (envelope or {}).get("error")
    error = error if isinstance(error, dict) else {}
    code, retry_after_seconds = str(error.get("code", "")), _parse_retry_after(headers.get("Retry-After"))
    if status == 429:
        return _NoUsableResponse("rate limited", retry_after_seconds, is_rate_limited=True)
    if status in (408, 500, 502, 503, 504) or code == "IDEMPOTENCY_KEY_IN_USE":
        return _NoUsableResponse(f"the API responded {status} {code}".rstrip(), retry_after_seconds)
    if not code or status < 400:
        return _NoUsableResponse(f"a {status} response that is not from OVN Pay; check the URL")
    details = error.get("details")
    request_id = (envelope or {}).get("meta", {}).get("requestId") or headers.get("X-Request-Id", "")
    return ApiRejected(
        status,
        code,
        str(error.get("message", "rejected")),
        details if isinstance(details, dict) else {},
        str(request_id),
        is_replay=is_replay,
    )


def _decode(raw: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(raw)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _parse_retry_after(text: str | None) -> float | None:
    return min(float(text), 120.0) if text is not None and text.isascii() and text.isdigit() else None
