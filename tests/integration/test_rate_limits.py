"""Rate limits: exact over several gateways, and local while Redis is away."""

import asyncio

import msgspec
import pytest

from gateway.rate_limits import ACCOUNT_FAILURES, BURST, RateLimits, Taken
from shared.ids import new_id
from shared.settings import Settings

CLIENTS = 32
"""How many ask at the same time: few enough that a slow machine's Redis answers each in time."""


@pytest.fixture
def limited(settings: Settings) -> Settings:
    """Sixty requests a minute."""
    return msgspec.structs.replace(settings, rate_limit_per_minute=60)


def hammer(settings: Settings, gateways: int, requests: int, per_minute: int | None = None) -> list[Taken]:
    """So many requests of one new caller, at once, spread over the gateways."""

    async def run() -> list[Taken]:
        doors = [RateLimits(settings) for _ in range(gateways)]
        caller = new_id().hex
        clients = asyncio.Semaphore(CLIENTS)

        async def ask(number: int) -> Taken:
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
    assert 60 * BURST <= len(passed) <= 60 * BURST + 5
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
    assert 60 * BURST <= sum(one.retry_after_seconds is None for one in taken) <= 60 * BURST + 5


def sign_ins(settings: Settings, gateways: int) -> tuple[int, list[int | None]]:
    """How many failed sign-ins to one account pass over so many gateways, and what each says then."""

    async def run() -> tuple[int, list[int | None]]:
        doors = [RateLimits(settings) for _ in range(gateways)]
        account = f"{new_id().hex}@carrier.example"
        tried = 0
        while await doors[tried % gateways].failed_before(account, f"10.0.0.{tried}") is None and tried < 100:
            await doors[tried % gateways].failed(account, f"10.0.0.{tried}")
            tried += 1
        waits = [await door.failed_before(account, "10.0.1.1") for door in doors]
        assert await doors[0].failed_before("somebody else", "10.0.1.2") is None
        for door in doors:
            await door.close()
        return tried, waits

    return asyncio.run(run())


def test_failed_sign_ins_are_counted_by_all_gateways_together(limited: Settings) -> None:
    """Ten at once, wherever they knock; then all doors stay shut for that account, and open for others."""
    tried, waits = sign_ins(limited, 3)
    assert tried == ACCOUNT_FAILURES * BURST
    assert all(wait is not None and 0 < wait <= 12 for wait in waits)


def test_failed_sign_ins_are_counted_without_redis_too(limited: Settings) -> None:
    """By each gateway for itself."""
    tried, waits = sign_ins(msgspec.structs.replace(limited, redis_url="redis://127.0.0.1:1/0"), 1)
    assert tried == ACCOUNT_FAILURES * BURST
    assert waits[0] is not None
