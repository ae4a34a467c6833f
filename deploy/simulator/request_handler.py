"""What does every API call pass through? Key, limits, idempotency, faults, one commit, the envelope."""

import asyncio
import hashlib
from collections import Counter
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
from deploy.simulator.limits import RequestLimit
from deploy.simulator.options import Options
from deploy.simulator.request_bodies import RequestBody, decode, fingerprint_source
from deploy.simulator.time_and_ids import new_id, now_text

log = structlog.get_logger("simulator")
DISCONNECT_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One API call, as an endpoint sees it."""

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
    """One line of the API: `run` answers the `data`, in one step without an await."""

    method: str
    path: str
    run: Callable[[ApiCall], Any]
    body: type[RequestBody] | None = None
    status: int = 200
    endpoint: str = "other"
    """Its name in fault rules."""


@dataclass(slots=True)
class RawResponse:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class RequestHandler:
    """Handles every call of the API the same way."""

    def __init__(self, options: Options, record: DocumentStore, faults: FaultRules) -> None:
        self._options = options
        self._record = record
        self._faults = faults
        self._modes: dict[str, Mode] = {options.test_key: "test", options.live_key: "live"}
        message = "Too many requests with this key."
        self._requests = RequestLimit(options.requests_per_hour, 3600, message)
        self._funding = RequestLimit(options.funding_per_minute, 60, "Too many funding operations with this key.")
        self._large = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.calls: Counter[tuple[str, str]] = Counter()

    async def handle(self, route: Route, request: web.Request) -> web.StreamResponse:
        answer = None
        try:
            answer = await self._answer(route, request)
        except PaystreamError as error:
            answer = error_response(error)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("call.broke", method=route.method, path=route.path)
            answer = error_response(PaystreamError(500, "INTERNAL_ERROR", "Something went wrong."))
        outcome = "no answer" if answer is None else str(answer.status)
        self.calls[f"{route.method} {route.path}", outcome] += 1
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(
            status=answer.status, body=answer.body, content_type="application/json", headers=answer.headers
        )

    async def _answer(self, route: Route, request: web.Request) -> RawResponse | None:
        """The answer, or None when the connection is to end without one."""
        api_key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        mode = self._modes.get(api_key)
        if mode is None or not request.headers["Authorization"].startswith("Bearer "):
            raise PaystreamError(401, "UNAUTHORIZED", "Give a valid API key as a bearer token.")
        self._requests.count_call(api_key)
        if route.endpoint == "topup":
            self._funding.count_call(api_key)
        content = await request.read() if route.body is not None else b""
        key = _idempotency_key(request) if route.method == "POST" else None
        body, mistake = None, None
        if route.body is not None:
            try:
                body = decode(content, route.body)
            except PaystreamError as error:
                mistake = error
        source = fingerprint_source(content, body)
        seen = f"{route.method} {request.path}\n".encode(errors="replace") + source
        fingerprint = hashlib.blake2b(seen, digest_size=16).digest()
        if route.body is None or route.path.startswith("/batches/"):
            # What is read from the record must not be older than what was answered.
            await self._record.committed()
        payments = body.subjects() if body is not None else []
        if len(payments) > 1:  # one large call after the other, and small ones between them
            async with self._large:
                await asyncio.sleep(0)
        # From here to the run there is no await for a call that is not held: two with one key can not both pass.
        if key is not None and (stored := self._record.answer(mode, key)) is not None:
            return await self._replay(stored, fingerprint)
        once_key = f"{mode} {key or fingerprint.hex()}"
        faults = self._faults.call_faults(_fault_endpoint(route), mode, payments, once_key) if mistake is None else []
        repeated = (
            f" You sent: {content.decode(errors='replace')}" if fault_argument(faults, "repeat") is not None else ""
        )
        for fault in faults:
            if fault_name(fault) in BEFORE_PROCESSING:
                return await self._fault_before(fault_name(fault), request, repeated)
        call = ApiCall(mode, key, request.match_info, request.query, body)
        answer = self._run(route, call, mistake or _rejection(faults, payments, repeated))
        if key is not None and answer.status < 500:
            self._record.keep_answer(mode, key, fingerprint, answer.status, answer.body)
        await self._record.committed()
        return await self._fault_after(faults, request, answer)

    def _run(self, route: Route, call: ApiCall, mistake: PaystreamError | None) -> RawResponse:
        """Never raises a definite error: its answer is stored under the key like a success."""
        try:
            if mistake is not None:
                raise mistake
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
        # The first call's commit may still be under way: an answer before it could be of nothing.
        await self._record.committed()
        return RawResponse(status, body, {"Idempotent-Replayed": "true"})

    async def _fault_before(self, name: str, request: web.Request, repeated: str) -> RawResponse | None:
        if name == "rate_limited":
            raise too_many("Too many requests with this key.", 1)
        if name == "error_500":
            raise PaystreamError(500, "INTERNAL_ERROR", f"Something went wrong.{repeated}")
        await self._hold(request, self._options.fault_timeout_seconds)
        return None

    async def _fault_after(self, faults: list[str], request: web.Request, answer: RawResponse) -> RawResponse | None:
        slow_seconds = fault_argument(faults, "slow")
        if slow_seconds is not None:
            await self._hold(request, float(slow_seconds))
        if fault_argument(faults, "timeout_after_accept") is not None:
            await self._hold(request, self._options.fault_timeout_seconds)
            return None
        if fault_argument(faults, "error_500_after_accept") is not None:
            raise PaystreamError(500, "INTERNAL_ERROR", "Something went wrong.")
        return answer

    async def _hold(self, request: web.Request, seconds: float) -> None:
        """Waits, but not longer than the client or this process."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while (left_seconds := ends_at - loop.time()) > 0 and not self.stopping.is_set():
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


def _rejection(faults: list[str], payments: list[Any], repeated: str) -> PaystreamError | None:
    code = fault_argument(faults, "reject")
    if code is None:
        return None
    if code == "INSUFFICIENT_BALANCE":
        required_cents = sum(payment.amount for payment in payments)
        return rejected(code, "The available balance does not cover this.", available=0, required=required_cents)
    return rejected(code, f"Paystream rejects this payment.{repeated}")
