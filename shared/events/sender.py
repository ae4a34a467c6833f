"""The sender: calls customers' endpoints, in one asyncio section with a thread of its own.

Each lane has sessions and threads for names of its own, so that names which don't resolve hold up nobody else's. The
addresses of a name are checked as they are resolved, and each once more as its socket is made, before a byte is sent.
Each attempt has a connection of its own: what was checked is what is used.
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
"""How much of a reply's body is read, and for how long, once its status is known: nobody looks at it."""

RESOLVER_THREADS: Final = 32
"""Threads that look names up, for each lane."""

OnResult = Callable[[DeliveryAttempt, DeliveryResult], None]
AddressCheck = Callable[[str], None]


class CheckedResolver(AbstractResolver):
    """Resolves names, and lets none through that has an address that is not allowed."""

    def __init__(self, permit: AddressCheck, threads: ThreadPoolExecutor) -> None:
        self._permit = permit
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The name's addresses.

        Raises:
            NotAllowed: one of them is not one that a customer may name.
            OSError: there is no such name, or nobody answers for it.

        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        )
        for *_, address in found:
            self._permit(str(address[0]))
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing to close: the threads are the lane's."""


class WebhookSender:
    """Calls endpoints. One for a process; close it at the end."""

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

    def send(self, attempt: DeliveryAttempt, done: OnResult) -> None:
        """Makes a call; `done` is called with its end, on the section's thread. Never blocks, never raises."""
        asyncio.run_coroutine_threadsafe(self._deliver(attempt, done), self._loop)

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Calls `work` on the section's thread, so much later."""
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, work)

    def close(self) -> None:
        """Gives up the calls under way, and closes the connections."""
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
        def permit(address: str) -> None:
            check_address(address, encrypted=encrypted, allow_loopback=self._allow_loopback)

        def make_socket(info: Any) -> socket.socket:
            permit(str(info[4][0]))
            return socket.socket(family=info[0], type=info[1], proto=info[2])

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                resolver=CheckedResolver(permit, threads),
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

    async def _deliver(self, attempt: DeliveryAttempt, done: OnResult) -> None:
        started = time.monotonic()
        try:
            reply = await self._call(attempt, started)
        except Exception:  # whatever it is, the attempt has an end
            logger.exception("webhook.call_failed")
            reply = DeliveryResult("unreachable", None, "the call could not be made", time.monotonic() - started)
        done(attempt, reply)

    async def _call(self, attempt: DeliveryAttempt, started: float) -> DeliveryResult:
        def ended(result: str, error: str) -> DeliveryResult:
            return DeliveryResult(result, None, error, time.monotonic() - started)

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
                reply = self._judged(response, time.monotonic() - started)
                with contextlib.suppress(aiohttp.ClientError, OSError, EOFError):  # its status is its answer
                    async with asyncio.timeout(RESPONSE_BODY_SECONDS_MAX):
                        await response.content.readexactly(RESPONSE_BYTES_MAX)
                response.close()
                return reply
        except aiohttp.ConnectionTimeoutError:
            return ended("timeout", f"no connection within {self._connect_seconds:g} s")
        except TimeoutError:
            return ended("timeout", f"no answer within {self._timeout_seconds:g} s")
        except AddressNotAllowed as error:
            return ended("blocked", str(error))
        except aiohttp.ClientConnectorDNSError as error:
            blocked = isinstance(error.os_error, AddressNotAllowed)
            return ended(*(("blocked", str(error.os_error)) if blocked else ("unreachable", "the name was not found")))
        except aiohttp.ClientSSLError:
            return ended("unreachable", "the TLS handshake failed, or the certificate is not valid for this host")
        except aiohttp.ClientConnectorError as error:
            blocked = isinstance(error.os_error, AddressNotAllowed)
            return ended(*(("blocked", str(error.os_error)) if blocked else ("unreachable", "could not connect")))
        except (aiohttp.ClientError, OSError, ValueError):
            return ended("unreachable", "the connection broke, or the answer was not HTTP")

    def _headers(self, attempt: DeliveryAttempt) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "OVNPay-Webhooks/1.0",
            "Accept-Encoding": "identity",
            **attempt.signed(self._peppers, int(self._clock.now().timestamp())),
        }

    def _judged(self, response: aiohttp.ClientResponse, seconds: float) -> DeliveryResult:
        status = response.status
        if 200 <= status < 300:
            return DeliveryResult("delivered", status, None, seconds)
        wait_seconds = parse_retry_after(response.headers.get("Retry-After"), self._clock.now())
        if status == 410:
            return DeliveryResult("gone", status, "answered 410: it is gone", seconds)
        sentence = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return DeliveryResult("refused", status, sentence, seconds, wait_seconds)
