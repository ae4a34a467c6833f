"""Rate limits: so many requests a minute for each caller, twice as many at once, counted in Redis for all gateways.

Requests of one caller that come while Redis is being asked for him are counted together by the next question: one busy
key costs a round trip for dozens of requests, and a lone one waits for nobody.

When Redis is away each gateway counts for itself: a payout is never refused because Redis is down.
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
"""Connections of each gateway; who finds none free waits for one."""
REDIS_RETRY_SECONDS: Final = 1.0
"""How long Redis is left alone after it did not answer."""
ROUND_PAUSE_SECONDS: Final = 0.002
"""Between two questions about a caller who keeps on asking: his requests are counted together, whose counting would
else take an eighth of the gateway's time. A lone request is counted at once."""
LOCAL_CALLERS_MAX: Final = 10_000
BURST_MINUTES: Final = 2
"""How many minutes' requests may come at once."""

ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE: Final = 5
"""Failed sign-ins a minute for each account; twice as many at once."""

LIMITED = Counter("ovnpay_rate_limited_total", "Requests refused because their caller sent too many.")
LOCAL = Counter("ovnpay_rate_limit_local_total", "Requests counted by this gateway alone, for Redis was away.")


class RateLimitState(NamedTuple):
    """What is left after a request."""

    limit: int
    """Requests a minute."""
    remaining: int
    """Requests that may come at once now."""
    reset_at: int
    """When all of the burst is there again, in Unix seconds."""
    retry_after_seconds: int | None
    """How long to wait; None: the request may pass."""

    def headers(self) -> dict[str, str]:
        """As every answer carries them."""
        shown = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }
        return shown if self.retry_after_seconds is None else {**shown, "Retry-After": str(self.retry_after_seconds)}


class _Caller(NamedTuple):
    name: str
    per_minute: int


class RateLimits:
    """Counts requests (the generic cell rate algorithm, one round trip to Redis)."""

    def __init__(self, settings: Settings) -> None:
        self.per_minute = settings.rate_limit_per_minute
        self._address_failures = settings.sign_in_failures_per_minute
        options = {"SOCKET_TIMEOUT": REDIS_SECONDS_MAX, "SOCKET_CONNECT_TIMEOUT": REDIS_SECONDS_MAX}
        self._redis = RedisStore(server=settings.redis_url, options=options)
        self._memory = MemoryStore(options={"MAX_SIZE": LOCAL_CALLERS_MAX})
        self._shared: dict[int, Throttled] = {}
        self._local: dict[int, Throttled] = {}
        self._pepper = settings.key_pepper
        self._rest_until = 0.0
        self._is_away = False
        self._free = asyncio.Semaphore(REDIS_CONNECTIONS_MAX)
        self._waiting: defaultdict[_Caller, list[asyncio.Future[RateLimitState]]] = defaultdict(list)
        """Whose requests wait for the next question about him."""
        self._asked: set[_Caller] = set()
        """About whom Redis is being asked."""
        self._rounds: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Closes the connections."""
        client: Any = self._redis._backend.get_client()
        await client.connection_pool.disconnect()

    def untouched(self) -> RateLimitState:
        """What a caller has who has not asked anything yet."""
        return RateLimitState(self.per_minute, self.per_minute * BURST_MINUTES, math.ceil(time.time()), None)

    async def take(self, caller: str, per_minute: int | None = None) -> RateLimitState:
        """Counts one request of the caller: at once, or with the others who wait while he is being asked about."""
        named = _Caller(caller, per_minute or self.per_minute)
        if named not in self._asked:
            self._asked.add(named)
            try:
                [alone] = await self._count(named, 1)
            finally:
                if named in self._waiting:
                    rounds = asyncio.create_task(self._ask_in_rounds(named))
                    self._rounds.add(rounds)
                    rounds.add_done_callback(self._rounds.discard)
                else:
                    self._asked.discard(named)
            return alone
        taken: asyncio.Future[RateLimitState] = asyncio.get_running_loop().create_future()
        self._waiting[named].append(taken)
        return await taken

    async def _ask_in_rounds(self, caller: "_Caller") -> None:
        """Counts those who wait, all at once, until nobody does."""
        try:
            while waiting := self._waiting.pop(caller, None):
                try:
                    answers = await self._count(caller, len(waiting))
                except Exception as error:
                    for one in waiting:
                        if not one.done():
                            one.set_exception(error)
                    continue
                for one, taken in zip(waiting, answers, strict=True):
                    if not one.done():  # its client has hung up
                        one.set_result(taken)
                if caller in self._waiting:
                    await asyncio.sleep(ROUND_PAUSE_SECONDS)
        finally:
            self._asked.discard(caller)

    async def _count(self, caller: "_Caller", requests: int) -> list[RateLimitState]:
        """Counts so many requests: those that fit pass, in order of arrival, the others are refused."""
        result: rate_limiter.RateLimitResult = await self._ask(
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
        if fit := min(state.remaining, requests - 1):
            return [*await self._count(caller, fit), *await self._count(caller, requests - fit)]
        [one] = await self._count(caller, 1)
        if one.retry_after_seconds is None:
            return [one, *await self._count(caller, requests - 1)]
        LIMITED.inc(requests - 1)
        return [one] * requests

    async def try_sign_in(self, account: str, address: str) -> int | None:
        """Counts a sign-in as failed before its password is looked at, so that guesses made in parallel are no more
        than those made in turn; `not_failed` takes it back.

        Returns:
            How many seconds to wait, where sign-ins to the account or from the address have failed too often, at any
            gateway: nothing is counted then. None: go on.

        """
        (account_limit, account_name), (address_limit, address_name) = self._sign_ins(account, address)
        wait = await self._count_failure(address_limit, address_name)
        if wait is not None:
            return wait
        wait = await self._count_failure(account_limit, account_name)
        if wait is not None:
            await self._ask(address_limit, _give_back(address_name))
        return wait

    async def not_failed(self, account: str, address: str) -> None:
        """Takes back what `try_sign_in` has counted: only failures count, so a right password locks nobody out, as
        often as it comes. What has failed before stays counted.
        """
        for limit, name in self._sign_ins(account, address):
            await self._ask(limit, _give_back(name))

    async def _count_failure(self, limit: int, name: str) -> int | None:
        result: rate_limiter.RateLimitResult = await self._ask(limit, methodcaller("limit", name))
        return max(math.ceil(result.state.retry_after), 1) if result.limited else None

    def _sign_ins(self, account: str, address: str) -> list[tuple[int, str]]:
        """The limits of a sign-in; Redis learns neither who it is nor where from."""
        named = (
            (ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE, f"account:{account}"),
            (self._address_failures, f"address:{address}"),
        )
        return [(limit, f"sign-in:{hash_token(name, self._pepper).hex()}") for limit, name in named]

    async def _ask(self, limit: int, question: Callable[[Throttled], Awaitable[Any]]) -> Any:
        """Asks Redis, for all gateways; or this gateway's own memory, while Redis is away."""
        async with self._free:
            if time.monotonic() >= self._rest_until:
                if self._is_away:  # one asks whether it is back; the others don't wait with him
                    self._rest_until = time.monotonic() + REDIS_SECONDS_MAX + REDIS_RETRY_SECONDS
                try:
                    answer = await question(_throttled(self._shared, limit, self._redis))
                    self._is_away, self._rest_until = False, 0.0
                    return answer
                except (RedisError, BaseThrottledError, OSError) as error:
                    if not self._is_away:
                        logger.warning("rate_limits.local", why=repr(error), cause=repr(error.__cause__))
                    self._is_away = True
                    self._rest_until = time.monotonic() + REDIS_RETRY_SECONDS
        LOCAL.inc()
        return await question(_throttled(self._local, limit, self._memory))


def _give_back(name: str) -> Callable[[Throttled], Awaitable[Any]]:
    """One less. Where it is the last that is counted, it stays until it would have gone by itself: the algorithm
    writes no time that is past.
    """
    return lambda throttled: throttled.limiter.limit(name, -1)


def _throttled(known: dict[int, Throttled], limit: int, store: RedisStore | MemoryStore) -> Throttled:
    if limit not in known:
        quota = rate_limiter.per_min(limit, burst=limit * BURST_MINUTES)
        known[limit] = Throttled(using="gcra", quota=quota, store=store, key_prefix="ovnpay:rate")
    return known[limit]
