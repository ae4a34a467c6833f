"""The provider's HTTP client: one bounded asyncio section in a thread of its own, called from synchronous workers.

Each call comes back as an `CallOutcome`; nothing is raised for what the provider or the network does. Before it is
made,
the budget is asked whether the provider takes another one.
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

PROVIDER_CALLS = Counter(
    "ovnpay_provider_calls_total", "Calls to the provider by their outcome.", ["endpoint", "outcome"]
)
PROVIDER_CALL_SECONDS = Histogram(
    "ovnpay_provider_call_duration_seconds", "How long calls to the provider took.", ["endpoint"]
)
RESPONSE_BYTES_MAX = 16 * 1024 * 1024


class PaystreamClient:
    """The client. One for a process; close it at the end."""

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
        """Makes one call."""
        return self.call_all([call])[0]

    def call_all(self, calls: Sequence[ProviderCall]) -> list[CallOutcome]:
        """Makes the calls, a bounded number at a time in this process; outcomes in order."""
        outcomes = dict(self.call_each(calls))
        return [outcomes[place] for place in range(len(calls))]

    def call_each(self, calls: Sequence[ProviderCall]) -> Iterator[tuple[int, CallOutcome]]:
        """The same, but yields each outcome, with its call's place, as soon as it is there: a slow answer keeps
        no other from being recorded. Those for which there is no room come first, unsent.
        """
        done: queue.SimpleQueue[tuple[int, CallOutcome]] = queue.SimpleQueue()
        refused = self._without_room(calls)
        for place, call in enumerate(calls):
            if place not in refused:
                asyncio.run_coroutine_threadsafe(self._deliver(place, call, done), self._loop)
        yield from refused.items()
        for _ in range(len(calls) - len(refused)):
            place, outcome = done.get()
            if isinstance(outcome, Throttled):
                self.budget.pause(calls[place], outcome.retry_after_seconds)
            yield place, outcome

    def _without_room(self, calls: Sequence[ProviderCall]) -> dict[int, CallOutcome]:
        """The calls that the provider would not take now, by their places; room is taken for the others."""
        alike: dict[tuple[tuple[CallLimit, ...], bool], list[int]] = {}
        for place, call in enumerate(calls):
            alike.setdefault((tuple(self.budget.limits(call)), call.urgent), []).append(place)
        refused: dict[int, CallOutcome] = {}
        for places in alike.values():
            taken = self.budget.take(calls[places[0]], len(places))
            for place in places[taken.granted :]:
                refused[place] = Throttled(taken.wait_seconds)
                PROVIDER_CALLS.labels(_endpoint(calls[place]), "no_room").inc()
        return refused

    def close(self) -> None:
        """Closes the connections."""
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

    async def _deliver(self, place: int, call: ProviderCall, done: queue.SimpleQueue[tuple[int, CallOutcome]]) -> None:
        try:
            outcome = await self._one(call)
        except BaseException as error:
            done.put((place, Unknown(f"{type(error).__name__}: {error}")))
            raise
        done.put((place, outcome))

    async def _one(self, call: ProviderCall) -> CallOutcome:
        endpoint = _endpoint(call)
        async with self._urgent_slots if call.urgent else self._slots:
            started = time.monotonic()
            if call.send_deadline is not None and started > call.send_deadline:
                return Unknown("not sent: its turn came after its lease")
            if call.clear is not None and started > call.recheck_after and not await asyncio.to_thread(call.clear):
                return Withheld()
            # The context of whoever asked is here too: what is scheduled from a thread takes it along.
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
                return classify_response(response.status, _decoded(raw), response.headers.get("Retry-After"))
        except TimeoutError:
            return Unknown(f"no answer within {self._timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Unknown(f"{type(error).__name__}: {error}")


def _endpoint(call: ProviderCall) -> str:
    return f"{call.method} /{call.path.split('/')[1]}"


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return None
