"""Concurrent clients; each waits for its response before its next request."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.customer import Customer


@dataclass(frozen=True)
class Posted:
    """One POST and its final response: a 409 (the same key is still running) was repeated after its Retry-After."""

    body: Any
    idempotency_key: str
    status: int
    replayed: bool
    answer: Any
    seconds: float


def post_all(
    customer: Customer, path: str, requests: Iterable[tuple[Any, str]], clients: int
) -> tuple[float, Sequence[Posted]]:
    """Post each (body, idempotency key) in order, from `clients` at once. Returns the Unix time of the start too."""
    return asyncio.run(_post_all(customer, path, requests, clients))


async def _post_all(
    customer: Customer, path: str, requests: Iterable[tuple[Any, str]], clients: int
) -> tuple[float, list[Posted]]:
    waiting = iter(requests)
    posted: list[Posted] = []
    async with aiohttp.ClientSession(customer.url, headers=customer.headers) as session:

        async def client() -> None:
            for body, key in waiting:
                posted.append(await _post(session, path, body, key))

        started_at = time.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    return started_at, posted


async def _post(session: aiohttp.ClientSession, path: str, body: Any, key: str) -> Posted:
    started = time.perf_counter()
    while True:
        async with session.post(path, json=body, headers={"Idempotency-Key": key}) as response:
            answer = await response.json()
            seconds = time.perf_counter() - started
            if response.status != 409:
                replayed = response.headers.get("Idempotent-Replayed") == "true"
                return Posted(body, key, response.status, replayed, answer, seconds)
        await asyncio.sleep(float(response.headers["Retry-After"]))
