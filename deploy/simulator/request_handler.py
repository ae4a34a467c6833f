"""Handling of every API call: API key, rate limits, idempotency, faults, commit, envelope."""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from aiohttp import web

from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import Mode
from deploy.simulator.errors import PaystreamError, invalid, rejected, too_many
from deploy.simulator.faults import BEFORE_PROCESSING, FaultRules, fault_argument, fault_name
from deploy.simulator.options import Options
from deploy.simulator.request_bodies import RequestBody, decode, fingerprint_source
from deploy.simulator.time_and_ids import new_id, now_seconds, now_text

log = structlog.get_logger("simulator")
DISCONNECT_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ApiCall:
    """An API call, as the endpoints see it."""

    mode: Mode
    key: str | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class ResultPage:
    items: list[dict[str, Any]]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the API; `run` returns the `data`, in one step without an await."""

    method: str
    path: str
    run: Callable[[ApiCall], Any]
    body: type[RequestBody] | None = None
    status: int = 200
    endpoint: str = "other"
    """Name in fault rules."""


@dataclass(slots=True)
class RawResponse:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class RequestLimit:
    """At most `max_calls` of each key in any window of `window_seconds`; 0 means unlimited."""

    def __init__(self, max_calls: int, window_seconds: float, message: str) -> None:
        self._max_calls = max_calls
        self._window_seconds = window_seconds
        self._message = message
        self._calls: dict[str, deque[float]] = {}

    def count_call(self, api_key: str) -> None:
        """Count the call, or raise a 429 with the time until the next one. A rejected call does not count."""
        if self._max_calls == 0:
            return
        now = now_seconds()
        calls = self._calls.setdefault(api_key, deque(maxlen=self._max_calls))
        if len(calls) == self._max_calls and now - calls[0] < self._window_seconds:
            wait_seconds = int(self._window_seconds - (now - calls[0])) + 1
            raise too_many(self._message, wait_seconds)
        calls.append(now)


class RequestHandler:
    """Handles every call of the API."""

    def __init__(self, options: Options, store: DocumentStore, faults: FaultRules) -> None:
        self._options = options
        self._store = store
        self._faults = faults
        self._modes: dict[str, Mode] = {options.test_key: "test", options.live_key: "live"}
        message = "Too many requests with this key."
        self._requests = RequestLimit(options.requests_per_hour, 3600, message)
        self._funding = RequestLimit(options.funding_per_minute, 60, "Too many funding operations with this key.")
        self._large_calls = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.calls: Counter[tuple[str, str]] = Counter()

    async def handle(self, route: Route, request: web.Request) -> web.StreamResponse:
        response = None
        try:
            response = await self._respond(route, request)
        except PaystreamError as error:
            response = error_response(error)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("call.failed", method=route.method, path=route.path)
            response = error_response(PaystreamError(500, "INTERNAL_ERROR", "Something went wrong."))
        outcome = "no answer" if response is None else str(response.status)
        self.calls[f"{route.method} {route.path}", outcome] += 1
        if response is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(
            status=response.status, body=response.body, content_type="application/json", headers=response.headers
        )

    async def _respond(self, route: Route, request: web.Request) -> RawResponse | None:
        """Return the response; None to close the connection without one."""
        api_key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        mode = self._modes.get(api_key)
        if mode is None or not request.headers["Authorization"].startswith("Bearer "):
            raise PaystreamError(401, "UNAUTHORIZED", "A valid API key is required as a bearer token.")
        self._requests.count_call(api_key)
        if route.endpoint == "topup":
            self._funding.count_call(api_key)
        content = await request.read() if route.body is not None else b""
        key = _idempotency_key(request) if route.method == "POST" else None
        body, body_error = None, None
        if route.body is not None:
            try:
                body = decode(content, route.body)
            except PaystreamError as error:
                body_error = error
        source = fingerprint_source(content, body)
        identity = f"{route.method} {request.path}\n".encode(errors="replace") + source
        fingerprint = hashlib.blake2b(identity, digest_size=16).digest()
        if route.body is None or route.path.startswith("/batches/"):
            # A read must see everything that was confirmed before.
            await self._store.committed()
        payments = body.subjects() if body is not None else []
        if len(payments) > 1:  # large calls one at a time, small ones in between
            async with self._large_calls:
                await asyncio.sleep(0)
        # No await from here to the run, except for faults: two calls with one key can't both run.
        if key is not None and (stored := self._store.stored_response(mode, key)) is not None:
            return await self._replay(stored, fingerprint)
        once_key = f"{mode} {key or fingerprint.hex()}"
        faults = (
            self._faults.call_faults(_fault_endpoint(route), mode, payments, once_key) if body_error is None else []
        )
        repeated = (
            f" You sent: {content.decode(errors='replace')}" if fault_argument(faults, "repeat") is not None else ""
        )
        for fault in faults:
            if fault_name(fault) in BEFORE_PROCESSING:
                return await self._apply_fault_before(fault_name(fault), request, repeated)
        call = ApiCall(mode, key, request.match_info, request.query, body)
        response = self._run(route, call, body_error or _rejection_fault(faults, payments, repeated))
        if key is not None and response.status < 500:
            self._store.save_response(mode, key, fingerprint, response.status, response.body)
        await self._store.committed()
        return await self._apply_fault_after(faults, request, response)

    def _run(self, route: Route, call: ApiCall, body_error: PaystreamError | None) -> RawResponse:
        """Run the call; a definite error becomes a response, to be stored under the key like a success."""
        try:
            if body_error is not None:
                raise body_error
            data = route.run(call)
        except PaystreamError as error:
            if not error.is_definite:
                raise
            return error_response(error)
        meta: dict[str, Any] = {"requestId": new_id("req"), "timestamp": now_text()}
        if isinstance(data, ResultPage):
            meta["nextCursor"] = data.next_cursor
            data = data.items
        return RawResponse(route.status, msgspec.json.encode({"data": data, "meta": meta}))

    async def _replay(self, stored: tuple[bytes, int, bytes], fingerprint: bytes) -> RawResponse:
        first_fingerprint, status, body = stored
        if first_fingerprint != fingerprint:
            message = "This Idempotency-Key was used for another request."
            raise rejected("IDEMPOTENCY_KEY_REUSED", message)
        # The commit of the first call may be pending: its response must not be sent before.
        await self._store.committed()
        return RawResponse(status, body, {"Idempotent-Replayed": "true"})

    async def _apply_fault_before(self, name: str, request: web.Request, repeated: str) -> RawResponse | None:
        if name == "rate_limited":
            raise too_many("Too many requests with this key.", 1)
        if name == "error_500":
            raise PaystreamError(500, "INTERNAL_ERROR", f"Something went wrong.{repeated}")
        await self._delay(request, self._options.fault_timeout_seconds)
        return None

    async def _apply_fault_after(
        self, faults: list[str], request: web.Request, response: RawResponse
    ) -> RawResponse | None:
        slow_seconds = fault_argument(faults, "slow")
        if slow_seconds is not None:
            await self._delay(request, float(slow_seconds))
        if fault_argument(faults, "timeout_after_accept") is not None:
            await self._delay(request, self._options.fault_timeout_seconds)
            return None
        if fault_argument(faults, "error_500_after_accept") is not None:
            raise PaystreamError(500, "INTERNAL_ERROR", "Something went wrong.")
        return response

    async def _delay(self, request: web.Request, seconds: float) -> None:
        """Wait, until the client disconnects or the process stops at the latest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left_seconds := deadline - loop.time()) > 0 and not self.stopping.is_set():
            if request.transport is None or request.transport.is_closing():
                return
            await asyncio.sleep(min(left_seconds, DISCONNECT_CHECK_SECONDS))


def error_response(error: PaystreamError) -> RawResponse:
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return RawResponse(error.status, msgspec.json.encode(error.as_json()), headers)


def _idempotency_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        message = "An Idempotency-Key is 1 to 255 printable ASCII characters."
        raise invalid(message, error_id="INVALID_IDEMPOTENCY_KEY", field="Idempotency-Key")
    return key


def _fault_endpoint(route: Route) -> str:
    return "reads" if route.method == "GET" else route.endpoint


def _rejection_fault(faults: list[str], payments: list[Any], repeated: str) -> PaystreamError | None:
    code = fault_argument(faults, "reject")
    if code is None:
        return None
    if code == "INSUFFICIENT_BALANCE":
        required_cents = sum(payment.amount for payment in payments)
        return rejected(code, "The available balance does not cover this.", available=0, required=required_cents)
    return rejected(code, f"Paystream rejects this payment.{repeated}")
