"""Calls customers' endpoints from an asyncio loop in its own thread.

Each pace has its own sessions and resolver threads: names that don't resolve delay no other pace. Addresses are checked
when resolved, and again when the socket is created. Every attempt opens a new connection.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.events.addresses import AddressNotAllowed, check_address, parse_ip_address
from shared.events.claim import DeliveryAttempt
from shared.events.delivery_results import DeliveryResult
from shared.events.pace_limits import PACE_LIMITS
from shared.events.retry_schedule import parse_retry_after
from shared.platform.clock import Clock
from shared.platform.settings import Settings
from shared.schema.events import Pace

logger = structlog.get_logger(__name__)

RESPONSE_BYTES_MAX: Final = 16 * 1024
RESPONSE_BODY_SECONDS_MAX: Final = 1.0
"""Limits for reading a response's body after its status; the body is discarded."""

RESOLVER_THREADS: Final = 32
"""Threads for DNS lookups, for each pace."""

OnResult = Callable[[DeliveryAttempt, DeliveryResult], None]
AddressCheck = Callable[[str], None]


class CheckedResolver(AbstractResolver):
    """Resolves host names and checks every address."""

    def __init__(self, check: AddressCheck, threads: ThreadPoolExecutor) -> None:
        self._check = check
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses.

        Raises:
            AddressNotAllowed: one of them is not public.
            OSError: the lookup failed.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        )
        for *_, address in found:
            self._check(str(address[0]))
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing to close: the threads belong to the sender."""


class WebhookSender:
    """Calls endpoints. One per process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._peppers = settings.peppers
        self._clock = clock
        self._allow_loopback = settings.is_loopback_allowed
        self._timeout_seconds = settings.webhooks_timeout_seconds
        self._connect_seconds = settings.webhooks_connect_timeout_seconds
        self._sessions: dict[tuple[Pace, bool], aiohttp.ClientSession] = {}
        self._threads = {pace: ThreadPoolExecutor(RESOLVER_THREADS, f"names-{pace}") for pace in PACE_LIMITS}
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()
        self._started.wait()

    def send(self, attempt: DeliveryAttempt, on_result: OnResult) -> None:
        """Start a call; `on_result` is called on the sender's thread. Neither blocks nor raises."""
        asyncio.run_coroutine_threadsafe(self._deliver(attempt, on_result), self._loop)

    def call_later(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` on the sender's thread after a delay."""
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, work)

    def close(self) -> None:
        """Cancel the calls under way and close the connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._started.set()
        self._loop.run_forever()

    async def _open(self) -> None:
        for pace, threads in self._threads.items():
            for encrypted in (True, False):
                self._sessions[pace, encrypted] = self._session(threads, encrypted=encrypted)

    def _session(self, threads: ThreadPoolExecutor, *, encrypted: bool) -> aiohttp.ClientSession:
        def check(address: str) -> None:
            check_address(address, encrypted=encrypted, allow_loopback=self._allow_loopback)

        def make_socket(info: Any) -> socket.socket:
            check(str(info[4][0]))
            return socket.socket(family=info[0], type=info[1], proto=info[2])

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                resolver=CheckedResolver(check, threads),
                use_dns_cache=False,
                force_close=True,
                socket_factory=make_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds, connect=self._connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=RESPONSE_BYTES_MAX,
            trust_env=False,
        )

    async def _end(self) -> None:
        under_way = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()

    async def _deliver(self, attempt: DeliveryAttempt, on_result: OnResult) -> None:
        started = time.monotonic()
        try:
            result = await self._call(attempt, started)
        except Exception:  # every attempt must end with a result
            logger.exception("webhook.call_failed")
            result = DeliveryResult("unreachable", None, "the request could not be sent", time.monotonic() - started)
        on_result(attempt, result)

    async def _call(self, attempt: DeliveryAttempt, started: float) -> DeliveryResult:
        def failed(outcome: str, error: str) -> DeliveryResult:
            return DeliveryResult(outcome, None, error, time.monotonic() - started)

        encrypted = not attempt.url.startswith("http://")
        try:
            address = parse_ip_address(urlsplit(attempt.url).hostname or "")
            if address is not None:
                check_address(str(address), encrypted=encrypted, allow_loopback=self._allow_loopback)
            async with self._sessions[attempt.pace, encrypted].post(
                URL(attempt.url, encoded=True),
                data=attempt.body,
                headers=self._headers(attempt),
                allow_redirects=False,
            ) as response:
                result = self._classify(response, time.monotonic() - started)
                with contextlib.suppress(aiohttp.ClientError, OSError, EOFError):  # the status alone counts
                    async with asyncio.timeout(RESPONSE_BODY_SECONDS_MAX):
                        await response.content.readexactly(RESPONSE_BYTES_MAX)
                response.close()
                return result
        except aiohttp.ConnectionTimeoutError:
            return failed("timeout", f"no connection within {self._connect_seconds:g} s")
        except TimeoutError:
            return failed("timeout", f"no response within {self._timeout_seconds:g} s")
        except AddressNotAllowed as error:
            return failed("blocked", str(error))
        except aiohttp.ClientSSLError:
            return failed("unreachable", "the TLS handshake failed, or the certificate is not valid for this host")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressNotAllowed):
                return failed("blocked", str(error.os_error))
            is_dns_error = isinstance(error, aiohttp.ClientConnectorDNSError)
            return failed("unreachable", "the host name was not found" if is_dns_error else "could not connect")
        except (aiohttp.ClientError, OSError, ValueError):
            return failed("unreachable", "the connection was lost, or the response was not HTTP")

    def _headers(self, attempt: DeliveryAttempt) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "OVNPay-Webhooks/1.0",
            "Accept-Encoding": "identity",
            **attempt.signed_headers(self._peppers, int(self._clock.now().timestamp())),
        }

    def _classify(self, response: aiohttp.ClientResponse, seconds: float) -> DeliveryResult:
        status = response.status
        if 200 <= status < 300:
            return DeliveryResult("delivered", status, None, seconds)
        wait_seconds = parse_retry_after(response.headers.get("Retry-After"), self._clock.now())
        if status == 410:
            return DeliveryResult("gone", status, "answered 410 Gone", seconds)
        error = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return DeliveryResult("refused", status, error, seconds, wait_seconds)
