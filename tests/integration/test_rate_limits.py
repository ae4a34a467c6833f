"""Rate limits are exact across gateways, and local while Redis is unavailable."""

import asyncio

import msgspec
import pytest

from gateway.http import rate_limits
from gateway.http.rate_limits import (
    ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE,
    BURST_MINUTES,
    RateLimits,
    RateLimitState,
)
from shared.platform.ids import new_id
from shared.platform.settings import Settings

CLIENTS = 32
"""Concurrent requests: few enough for the Redis of a slow machine to answer each in time."""
NO_REDIS = "redis://127.0.0.1:1/0"
SIGN_IN_FAILURES_MAX = ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES


@pytest.fixture
def limited(settings: Settings) -> Settings:
    """A limit of 60 requests per minute."""
    return msgspec.structs.replace(settings, rate_limit_per_minute=60)


def send_requests(
    settings: Settings, gateways: int, requests: int, per_minute: int | None = None
) -> list[RateLimitState]:
    """Count a number of concurrent requests of a new caller, spread over gateways."""

    async def run() -> list[RateLimitState]:
        limits = [RateLimits(settings) for _ in range(gateways)]
        caller = new_id().hex
        clients = asyncio.Semaphore(CLIENTS)

        async def send(number: int) -> RateLimitState:
            async with clients:
                return await limits[number % gateways].count_request(caller, per_minute)

        states = await asyncio.gather(*(send(number) for number in range(requests)))
        for one in limits:
            await one.close()
        return states

    return asyncio.run(run())


def test_gateways_share_a_limit(limited: Settings) -> None:
    """The burst is accepted, and what is refilled within a second or two."""
    states = send_requests(limited, 4, 400)
    accepted = [one for one in states if one.retry_after_seconds is None]
    assert 60 * BURST_MINUTES <= len(accepted) <= 60 * BURST_MINUTES + 5
    assert {one.limit for one in states} == {60}
    assert min(one.remaining for one in states) == 0
    rejected = [one for one in states if one.retry_after_seconds is not None]
    assert all(one.headers()["Retry-After"] == "1" for one in rejected)


def test_limit_of_a_key_overrides_the_default(limited: Settings) -> None:
    states = send_requests(limited, 2, 50, per_minute=10)
    assert 20 <= sum(one.retry_after_seconds is None for one in states) <= 21


def test_gateway_counts_in_memory_without_redis(limited: Settings) -> None:
    states = send_requests(msgspec.structs.replace(limited, redis_url=NO_REDIS), 1, 200)
    accepted = sum(one.retry_after_seconds is None for one in states)
    assert 60 * BURST_MINUTES <= accepted <= 60 * BURST_MINUTES + 5


def fail_sign_ins(settings: Settings, gateways: int) -> tuple[int, list[int | None]]:
    """Fail sign-ins to an account until one is rejected; return how many were counted, and the wait at each gateway."""

    async def run() -> tuple[int, list[int | None]]:
        limits = [RateLimits(settings) for _ in range(gateways)]
        account = f"{new_id().hex}@carrier.example"
        failed = 0
        while await limits[failed % gateways].count_sign_in(account, f"10.0.0.{failed}") is None and failed < 100:
            failed += 1
        waits = [await one.count_sign_in(account, "10.0.1.1") for one in limits]
        assert await limits[0].count_sign_in("another account", "10.0.1.2") is None
        for one in limits:
            await one.close()
        return failed, waits

    return asyncio.run(run())


def test_gateways_count_failed_sign_ins_together(limited: Settings) -> None:
    failed, waits = fail_sign_ins(limited, 3)
    assert failed == SIGN_IN_FAILURES_MAX
    assert all(wait is not None and 0 < wait <= 12 for wait in waits)


def test_failed_sign_ins_are_counted_without_redis(limited: Settings) -> None:
    failed, waits = fail_sign_ins(msgspec.structs.replace(limited, redis_url=NO_REDIS), 1)
    assert failed == SIGN_IN_FAILURES_MAX
    assert waits[0] is not None


def test_parallel_sign_ins_get_no_more_attempts_than_sequential_ones(
    limited: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "REDIS_SECONDS_MAX", 30.0)  # on a slow machine gateways would count in memory

    async def run() -> list[int | None]:
        limits = [RateLimits(limited) for _ in range(3)]
        account = f"{new_id().hex}@carrier.example"
        waits = await asyncio.gather(*(limits[n % 3].count_sign_in(account, f"10.{n}.0.1") for n in range(80)))
        for one in limits:
            await one.close()
        return waits

    accepted = sum(wait is None for wait in asyncio.run(run()))
    assert SIGN_IN_FAILURES_MAX <= accepted <= SIGN_IN_FAILURES_MAX + 1


@pytest.mark.parametrize("redis_url", [None, NO_REDIS], ids=["shared", "without Redis"])
def test_successful_sign_ins_neither_count_nor_reset_failures(limited: Settings, redis_url: str | None) -> None:
    async def run() -> tuple[list[int | None], int]:
        limits = RateLimits(msgspec.structs.replace(limited, redis_url=redis_url or limited.redis_url))
        account, address = f"{new_id().hex}@carrier.example", new_id().hex
        successful, failed = list[int | None](), 0
        for _ in range(SIGN_IN_FAILURES_MAX - 1):
            for _ in range(2):
                successful.append(await limits.count_sign_in(account, address))
                await limits.undo_sign_in(account, address)
            failed += await limits.count_sign_in(account, address) is None
        while await limits.count_sign_in(account, address) is None and failed < 100:
            failed += 1
        await limits.close()
        return successful, failed

    successful, failed = asyncio.run(run())
    assert set(successful) == {None}
    assert SIGN_IN_FAILURES_MAX - 1 <= failed <= SIGN_IN_FAILURES_MAX + 1
