"""Rate limits: a number of requests per minute for each caller, in bursts of twice as many, counted in Redis.

Requests of a caller that arrive while one of its requests is being counted are counted together by the next call: a
busy key costs one round trip for dozens of requests, and a single request waits for no other.

While Redis is unavailable, each gateway counts in its own memory: no payout is rejected because Redis is down.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from operator import methodcaller
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError
from throttled.asyncio import MemoryStore, RedisStore, Throttled, rate_limiter
from throttled.exceptions import BaseThrottledError

from shared.identity.api_keys import hash_token
from shared.platform.settings import Settings

logger = structlog.get_logger(__name__)

REDIS_SECONDS_MAX: Final = 0.5
REDIS_CONNECTIONS_MAX: Final = 16
"""Connections of each gateway process; further calls wait for a free one."""
REDIS_RETRY_SECONDS: Final = 1.0
"""How long Redis is not called after a failure."""
ROUND_PAUSE_SECONDS: Final = 0.002
"""Pause between two counts of a busy caller, to collect requests: counting each would take an eighth of the process's
time. A single request is counted at once."""
LOCAL_CALLERS_MAX: Final = 10_000
BURST_MINUTES: Final = 2
"""The burst, in minutes' worth of requests."""

ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE: Final = 5

LIMITED = Counter("ovnpay_rate_limited_total", "Requests rejected because their caller exceeded its rate limit.")
LOCAL = Counter("ovnpay_rate_limit_local_total", "Requests counted in process memory because Redis was unavailable.")


class RateLimitState(NamedTuple):
    """A caller's limit after a request."""

    limit: int
    """Requests per minute."""
    remaining: int
    """Requests accepted at once now."""
    reset_at: int
    """When the whole burst is available again, in Unix seconds."""
    retry_after_seconds: int | None
    """How long to wait; None: the request is accepted."""

    def headers(self) -> dict[str, str]:
        limits = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }
        return limits if self.retry_after_seconds is None else {**limits, "Retry-After": str(self.retry_after_seconds)}


class _Caller(NamedTuple):
    name: str
    per_minute: int


class RateLimits:
    """Counts requests by the generic cell rate algorithm, with one round trip to Redis."""

    def __init__(self, settings: Settings) -> None:
        self.per_minute = settings.rate_limit_per_minute
        self._address_failures = settings.sign_in_failures_per_minute
        options = {"SOCKET_TIMEOUT": REDIS_SECONDS_MAX, "SOCKET_CONNECT_TIMEOUT": REDIS_SECONDS_MAX}
        self._redis = RedisStore(server=settings.redis_url, options=options)
        self._memory = MemoryStore(options={"MAX_SIZE": LOCAL_CALLERS_MAX})
        self._shared: dict[int, Throttled] = {}
        self._local: dict[int, Throttled] = {}
        self._pepper = settings.key_pepper
        self._next_redis_call_at = 0.0
        self._is_redis_down = False
        self._connections = asyncio.Semaphore(REDIS_CONNECTIONS_MAX)
        self._waiting: defaultdict[_Caller, list[asyncio.Future[RateLimitState]]] = defaultdict(list)
        """The requests to be counted in a caller's next round."""
        self._counting: set[_Caller] = set()
        """The callers whose requests are being counted."""
        self._rounds: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        client: Any = self._redis._backend.get_client()
        await client.connection_pool.disconnect()

    def full_state(self) -> RateLimitState:
        return RateLimitState(self.per_minute, self.per_minute * BURST_MINUTES, math.ceil(time.time()), None)

    async def count_request(self, caller: str, per_minute: int | None = None) -> RateLimitState:
        """Count a request: at once, or with the caller's others that wait for a count in progress."""
        counted = _Caller(caller, per_minute or self.per_minute)
        if counted not in self._counting:
            self._counting.add(counted)
            try:
                [state] = await self._count(counted, 1)
            finally:
                if counted in self._waiting:
                    rounds = asyncio.create_task(self._count_in_rounds(counted))
                    self._rounds.add(rounds)
                    rounds.add_done_callback(self._rounds.discard)
                else:
                    self._counting.discard(counted)
            return state
        future: asyncio.Future[RateLimitState] = asyncio.get_running_loop().create_future()
        self._waiting[counted].append(future)
        return await future

    async def _count_in_rounds(self, caller: "_Caller") -> None:
        """Count a caller's waiting requests together, until none waits."""
        try:
            while waiting := self._waiting.pop(caller, None):
                try:
                    states = await self._count(caller, len(waiting))
                except Exception as error:
                    for future in waiting:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for future, state in zip(waiting, states, strict=True):
                    if not future.done():  # done: its client has disconnected
                        future.set_result(state)
                if caller in self._waiting:
                    await asyncio.sleep(ROUND_PAUSE_SECONDS)
        finally:
            self._counting.discard(caller)

    async def _count(self, caller: "_Caller", requests: int) -> list[RateLimitState]:
        """Count several requests: the first ones are accepted as far as the limit goes, the rest are rejected."""
        result: rate_limiter.RateLimitResult = await self._call(
            caller.per_minute, methodcaller("limit", caller.name, requests)
        )
        state, reset_at = result.state, math.ceil(time.time() + result.state.reset_after)
        if not result.limited:
            left = range(state.remaining + requests - 1, state.remaining - 1, -1)
            return [RateLimitState(caller.per_minute, remaining, reset_at, None) for remaining in left]
        if requests == 1:
            LIMITED.inc()
            wait = max(math.ceil(state.retry_after), 1)
            return [RateLimitState(caller.per_minute, state.remaining, reset_at, wait)]
        if accepted := min(state.remaining, requests - 1):
            return [*await self._count(caller, accepted), *await self._count(caller, requests - accepted)]
        [one] = await self._count(caller, 1)
        if one.retry_after_seconds is None:
            return [one, *await self._count(caller, requests - 1)]
        LIMITED.inc(requests - 1)
        return [one] * requests

    async def count_sign_in(self, account: str, address: str) -> int | None:
        """Count a sign-in as failed before its password is checked; `undo_sign_in` takes a successful one back.

        Counting first means that parallel guesses get no more attempts than sequential ones.

        Returns:
            None to proceed. The seconds to wait if sign-ins to the account or from the address have failed too often,
            on any gateway; the attempt is not counted then.

        """
        (account_limit, account_name), (address_limit, address_name) = self._sign_in_limits(account, address)
        wait = await self._count_failure(address_limit, address_name)
        if wait is not None:
            return wait
        wait = await self._count_failure(account_limit, account_name)
        if wait is not None:
            await self._call(address_limit, _uncount(address_name))
        return wait

    async def undo_sign_in(self, account: str, address: str) -> None:
        """Take back what `count_sign_in` counted: only failures count, and earlier failures stay counted."""
        for limit, name in self._sign_in_limits(account, address):
            await self._call(limit, _uncount(name))

    async def _count_failure(self, limit: int, name: str) -> int | None:
        result: rate_limiter.RateLimitResult = await self._call(limit, methodcaller("limit", name))
        return max(math.ceil(result.state.retry_after), 1) if result.limited else None

    def _sign_in_limits(self, account: str, address: str) -> list[tuple[int, str]]:
        """The limits of a sign-in, by account and address. Names are hashed: Redis gets no personal data."""
        names = (
            (ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE, f"account:{account}"),
            (self._address_failures, f"address:{address}"),
        )
        return [(limit, f"sign-in:{hash_token(name, self._pepper).hex()}") for limit, name in names]

    async def _call(self, limit: int, operation: Callable[[Throttled], Awaitable[Any]]) -> Any:
        """Run an operation in Redis, or in process memory while Redis is unavailable."""
        async with self._connections:
            if time.monotonic() >= self._next_redis_call_at:
                if self._is_redis_down:  # one call tries again; the others don't wait for it
                    self._next_redis_call_at = time.monotonic() + REDIS_SECONDS_MAX + REDIS_RETRY_SECONDS
                try:
                    result = await operation(_throttled(self._shared, limit, self._redis))
                    self._is_redis_down, self._next_redis_call_at = False, 0.0
                    return result
                except (RedisError, BaseThrottledError, OSError) as error:
                    if not self._is_redis_down:
                        logger.warning("rate_limits.local", why=repr(error), cause=repr(error.__cause__))
                    self._is_redis_down = True
                    self._next_redis_call_at = time.monotonic() + REDIS_RETRY_SECONDS
        LOCAL.inc()
        return await operation(_throttled(self._local, limit, self._memory))


def _uncount(name: str) -> Callable[[Throttled], Awaitable[Any]]:
    """Subtract one. The last one counted stays until it expires: the algorithm writes no time in the past."""
    return lambda throttled: throttled.limiter.limit(name, -1)


def _throttled(known: dict[int, Throttled], limit: int, store: RedisStore | MemoryStore) -> Throttled:
    if limit not in known:
        quota = rate_limiter.per_min(limit, burst=limit * BURST_MINUTES)
        known[limit] = Throttled(using="gcra", quota=quota, store=store, key_prefix="ovnpay:rate")
    return known[limit]
