"""Rate limits: exact over several gateways, and local while Redis is away."""

import asyncio

import msgspec
import pytest

from gateway.http import rate_limits
from gateway.http.rate_limits import ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE, BURST_MINUTES, RateLimits, RateLimitState
from shared.platform.ids import new_id
from shared.platform.settings import Settings

CLIENTS = 32
"""How many ask at the same time: few enough that a slow machine's Redis answers each in time."""


@pytest.fixture
def limited(settings: Settings) -> Settings:
    """Sixty requests a minute."""
    return msgspec.structs.replace(settings, rate_limit_per_minute=60)


def hammer(settings: Settings, gateways: int, requests: int, per_minute: int | None = None) -> list[RateLimitState]:
    """So many requests of one new caller, at once, spread over the gateways."""

    async def run() -> list[RateLimitState]:
        doors = [RateLimits(settings) for _ in range(gateways)]
        caller = new_id().hex
        clients = asyncio.Semaphore(CLIENTS)

        async def ask(number: int) -> RateLimitState:
            async with clients:
                return await doors[number % gateways].take(caller, per_minute)

        taken = await asyncio.gather(*(ask(number) for number in range(requests)))
        for door in doors:
            await door.close()
        return taken

    return asyncio.run(run())


def test_gateways_count_together(limited: Settings) -> None:
    """Of 400 at once over four gateways the burst passes, and what a second or two refills."""
    taken = hammer(limited, 4, 400)
    passed = [one for one in taken if one.retry_after_seconds is None]
    assert 60 * BURST_MINUTES <= len(passed) <= 60 * BURST_MINUTES + 5
    assert {one.limit for one in taken} == {60}
    assert min(one.remaining for one in taken) == 0
    refused = [one for one in taken if one.retry_after_seconds is not None]
    assert all(one.headers()["Retry-After"] == "1" for one in refused)


def test_a_key_may_have_a_limit_of_its_own(limited: Settings) -> None:
    """More, or less."""
    taken = hammer(limited, 2, 50, per_minute=10)
    assert 20 <= sum(one.retry_after_seconds is None for one in taken) <= 21


def test_without_redis_each_gateway_counts_for_itself(limited: Settings) -> None:
    """Nobody is refused because Redis is down, and nobody may do what he likes."""
    nowhere = msgspec.structs.replace(limited, redis_url="redis://127.0.0.1:1/0")
    taken = hammer(nowhere, 1, 200)
    assert 60 * BURST_MINUTES <= sum(one.retry_after_seconds is None for one in taken) <= 60 * BURST_MINUTES + 5


def sign_ins(settings: Settings, gateways: int) -> tuple[int, list[int | None]]:
    """How many failed sign-ins to one account pass over so many gateways, and what each says then."""

    async def run() -> tuple[int, list[int | None]]:
        doors = [RateLimits(settings) for _ in range(gateways)]
        account = f"{new_id().hex}@carrier.example"
        tried = 0
        while await doors[tried % gateways].try_sign_in(account, f"10.0.0.{tried}") is None and tried < 100:
            tried += 1
        waits = [await door.try_sign_in(account, "10.0.1.1") for door in doors]
        assert await doors[0].try_sign_in("somebody else", "10.0.1.2") is None
        for door in doors:
            await door.close()
        return tried, waits

    return asyncio.run(run())


def test_failed_sign_ins_are_counted_by_all_gateways_together(limited: Settings) -> None:
    """Ten at once, wherever they knock; then all doors stay shut for that account, and open for others."""
    tried, waits = sign_ins(limited, 3)
    assert tried == ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES
    assert all(wait is not None and 0 < wait <= 12 for wait in waits)


def test_failed_sign_ins_are_counted_without_redis_too(limited: Settings) -> None:
    """By each gateway for itself."""
    tried, waits = sign_ins(msgspec.structs.replace(limited, redis_url="redis://127.0.0.1:1/0"), 1)
    assert tried == ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES
    assert waits[0] is not None


def test_sign_ins_tried_at_once_are_no_more_than_those_tried_in_turn(
    limited: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is counted before its password is looked at: nobody slips in between."""
    monkeypatch.setattr(rate_limits, "REDIS_SECONDS_MAX", 30.0)  # or each counts for itself, where the machine is slow

    async def run() -> list[int | None]:
        doors = [RateLimits(limited) for _ in range(3)]
        account = f"{new_id().hex}@carrier.example"
        waits = await asyncio.gather(*(doors[n % 3].try_sign_in(account, f"10.{n}.0.1") for n in range(80)))
        for door in doors:
            await door.close()
        return waits

    passed = sum(wait is None for wait in asyncio.run(run()))
    assert (
        ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES
        <= passed
        <= ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES + 1
    )


@pytest.mark.parametrize("redis_url", [None, "redis://127.0.0.1:1/0"], ids=["shared", "without Redis"])
def test_right_passwords_lock_nobody_out_and_forgive_no_failure(limited: Settings, redis_url: str | None) -> None:
    """However many there are, the failures among them are counted."""

    async def run() -> tuple[list[int | None], int]:
        door = RateLimits(msgspec.structs.replace(limited, redis_url=redis_url or limited.redis_url))
        account, address, right, failed = f"{new_id().hex}@carrier.example", new_id().hex, list[int | None](), 0
        for _ in range(ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES - 1):
            for _ in range(2):
                right.append(await door.try_sign_in(account, address))
                await door.not_failed(account, address)
            failed += await door.try_sign_in(account, address) is None
        while await door.try_sign_in(account, address) is None and failed < 100:
            failed += 1
        await door.close()
        return right, failed

    right, failed = asyncio.run(run())
    assert set(right) == {None}
    assert (
        ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES - 1
        <= failed
        <= ACCOUNT_SIGN_IN_FAILURES_PER_MINUTE * BURST_MINUTES + 1
    )
