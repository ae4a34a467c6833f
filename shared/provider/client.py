"""HTTP client of the provider: an asyncio loop in a thread, called from synchronous workers.

Every call returns a `CallOutcome`; provider and network errors are never raised.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import msgspec
from prometheus_client import Counter, Histogram

from shared.platform import tracing
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget, CallLimit
from shared.provider.outcomes import Accepted, CallOutcome, Throttled, Unknown, Withheld, classify_response
from shared.provider.wire import ProviderCall
from shared.schema.organizations import Mode

PROVIDER_CALLS = Counter("ovnpay_provider_calls_total", "Calls to the provider, by outcome.", ["endpoint", "outcome"])
PROVIDER_CALL_SECONDS = Histogram(
    "ovnpay_provider_call_duration_seconds", "Duration of calls to the provider.", ["endpoint"]
)
RESPONSE_BYTES_MAX = 16 * 1024 * 1024


class PaystreamClient:
    """The client; one per process. Call `close` at shutdown."""

    def __init__(self, settings: Settings, budget: CallBudget) -> None:
        self.budget = budget
        self._base = settings.paystream_url.rstrip("/") + "/api/v1"
        self._keys = {
            Mode.SANDBOX.value: settings.paystream_test_key,
            Mode.PRODUCTION.value: settings.paystream_live_key,
        }
        self._timeout_seconds = settings.paystream_timeout_seconds
        self._concurrency = settings.paystream_concurrency
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="paystream", daemon=True)
        self._thread.start()
        self._started.wait()

    def call(self, call: ProviderCall) -> CallOutcome:
        """Make one call."""
        return self.call_all([call])[0]

    def call_all(self, calls: Sequence[ProviderCall]) -> list[CallOutcome]:
        """Make the calls with bounded concurrency; return their outcomes in order."""
        outcomes = dict(self.call_each(calls))
        return [outcomes[index] for index in range(len(calls))]

    def call_each(self, calls: Sequence[ProviderCall]) -> Iterator[tuple[int, CallOutcome]]:
        """Make the calls; yield each outcome with its call's index as it arrives, calls without budget first."""
        done: queue.SimpleQueue[tuple[int, CallOutcome]] = queue.SimpleQueue()
        over_budget = self._reject_over_budget(calls)
        for index, call in enumerate(calls):
            if index not in over_budget:
                asyncio.run_coroutine_threadsafe(self._deliver(index, call, done), self._loop)
        yield from over_budget.items()
        for _ in range(len(calls) - len(over_budget)):
            index, outcome = done.get()
            if isinstance(outcome, Throttled):
                self.budget.pause(calls[index], outcome.retry_after_seconds)
            yield index, outcome

    def _reject_over_budget(self, calls: Sequence[ProviderCall]) -> dict[int, CallOutcome]:
        groups: dict[tuple[tuple[CallLimit, ...], bool], list[int]] = {}
        for index, call in enumerate(calls):
            groups.setdefault((tuple(self.budget.limits(call)), call.urgent), []).append(index)
        over_budget: dict[int, CallOutcome] = {}
        for indexes in groups.values():
            grant = self.budget.acquire(calls[indexes[0]], len(indexes))
            for index in indexes[grant.granted :]:
                over_budget[index] = Throttled(grant.wait_seconds)
                PROVIDER_CALLS.labels(_endpoint(calls[index]), "no_room").inc()
        return over_budget

    def close(self) -> None:
        """Close the connections and stop the thread."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result(5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._started.set()
        self._loop.run_forever()

    async def _open(self) -> None:
        self._slots = asyncio.Semaphore(self._concurrency)
        self._urgent_slots = asyncio.Semaphore(self._concurrency)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2 * self._concurrency, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds, connect=min(5.0, self._timeout_seconds)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def _deliver(self, index: int, call: ProviderCall, done: queue.SimpleQueue[tuple[int, CallOutcome]]) -> None:
        try:
            outcome = await self._send_in_slot(call)
        except BaseException as error:
            done.put((index, Unknown(f"{type(error).__name__}: {error}")))
            raise
        done.put((index, outcome))

    async def _send_in_slot(self, call: ProviderCall) -> CallOutcome:
        endpoint = _endpoint(call)
        async with self._urgent_slots if call.urgent else self._slots:
            started = time.monotonic()
            if call.send_deadline is not None and started > call.send_deadline:
                return Unknown("not sent: its lease ended first")
            if (
                call.may_send is not None
                and started > call.recheck_after
                and not await asyncio.to_thread(call.may_send)
            ):
                return Withheld()
            # The caller's trace context is here too: run_coroutine_threadsafe copies it.
            with tracing.span(
                endpoint, tracing.SpanKind.CLIENT, mode=call.mode, key=call.idempotency_key or ""
            ) as span:
                outcome = await self._send(call)
                if not isinstance(outcome, Accepted):
                    tracing.mark_failed(span, type(outcome).__name__)
            PROVIDER_CALL_SECONDS.labels(endpoint).observe(time.monotonic() - started)
        PROVIDER_CALLS.labels(endpoint, type(outcome).__name__.lower()).inc()
        return outcome

    async def _send(self, call: ProviderCall) -> CallOutcome:
        headers = {"Authorization": f"Bearer {self._keys[call.mode]}"}
        data = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            data = msgspec.json.encode(call.body)
        if call.idempotency_key is not None:
            headers["Idempotency-Key"] = call.idempotency_key
        if parent := tracing.current_traceparent():
            headers[tracing.TRACEPARENT_HEADER] = parent
        try:
            async with self._session.request(
                call.method,
                self._base + call.path,
                data=data,
                headers=headers,
                params=call.params,
                allow_redirects=False,
            ) as response:
                raw = await response.content.read(RESPONSE_BYTES_MAX)
                while len(raw) < RESPONSE_BYTES_MAX and (
                    more := await response.content.read(RESPONSE_BYTES_MAX - len(raw))
                ):
                    raw += more
                return classify_response(response.status, _decode_json(raw), response.headers.get("Retry-After"))
        except TimeoutError:
            return Unknown(f"no answer within {self._timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Unknown(f"{type(error).__name__}: {error}")


def _endpoint(call: ProviderCall) -> str:
    return f"{call.method} /{call.path.split('/')[1]}"


def _decode_json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return None
