"""Clients that request payouts in every way, repeat unanswered requests under the same key, and record each answer."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

_PATIENCE_SECONDS: Final = 6.0
"""How long a client waits for an answer before it repeats the request."""
_CLIENTS: Final = 6
_NOT_YET: Final = "IDEMPOTENCY_KEY_IN_USE"
_RAILS: Final = ("standard", "standard", "standard", "same_day", "instant", "instant")


@dataclass(frozen=True)
class WantedPayout:
    """One payout as its client wants it."""

    mark: str
    """In its description, which identifies it in the database and at Paystream."""
    driver_id: str
    amount_cents: int
    rail: str

    def body(self) -> dict[str, Any]:
        """Return the request body, without the rail."""
        return {"driverId": self.driver_id, "amount": self.amount_cents, "description": self.mark}


@dataclass
class Request:
    """One request of a client, with its attempts and its answer."""

    key: str
    path: str
    body: Any
    wants: Sequence[WantedPayout] = ()
    tries: int = 0
    status: int | None = None
    """HTTP status of the first definite answer; None if there was none."""
    answer: Any = None
    contradicted: str = ""
    """A later answer under the same key that differs."""

    @property
    def made(self) -> dict[str, str]:
        """The ids of the created payouts in the answer, by mark; a batch's answer has none."""
        if self.status != 200 or not self.wants or self.path == "/api/v1/batches":
            return {}
        if "results" not in self.answer:
            return {self.wants[0].mark: self.answer["id"]}
        pairs = zip(self.wants, self.answer["results"], strict=True)
        return {want.mark: one["item"]["id"] for want, one in pairs if one["status"] == "success"}


@dataclass
class Load:
    """The clients of one run."""

    gateways: Sequence[str]
    key: str
    driver_ids: Sequence[str]
    seed: int
    requests: list[Request] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    """Repeats by reason."""
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Start the clients."""
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(_CLIENTS)]

    async def stop(self, within_seconds: float) -> int:
        """Let the clients finish their last requests; return how many got no answer in time."""
        self._ending.set()
        done, late = await asyncio.wait(self._tasks, timeout=within_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()
        return len(late)

    async def _client(self, number: int) -> None:
        chance = random.Random(f"client {self.seed} {number}")
        headers = {"Authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while not self._ending.is_set():
                request = self._next(chance)
                self.requests.append(request)
                await self._send(session, chance, request)
                if chance.random() < 0.1:  # repeats an answered request, as after a lost response
                    await self._send(session, chance, request)
                await asyncio.sleep(chance.uniform(0.1, 0.5))

    def _next(self, chance: random.Random) -> Request:
        """Choose the client's next request."""
        key = f"chaos-{self.seed}-{next(self._numbers)}"
        what = chance.choices(("one", "bulk", "batch", "cancel", "retry"), (10, 3, 2, 2, 2))[0]
        known = [id_ for request in self.requests[-60:] for id_ in request.made.values()] if what != "one" else []
        if what in ("cancel", "retry") and known:
            # Few can still be canceled, and few have failed: the latest are the most likely.
            latest = known[-6:] if what == "cancel" else chance.sample(known, min(len(known), 40))
            return Request(key, f"/api/v1/payouts/bulk/{what}", {"payoutIds": latest})
        rail = chance.choice(_RAILS)
        count = {"bulk": chance.randint(2, 8), "batch": chance.randint(3, 12)}.get(what, 1)
        wants = [
            WantedPayout(f"<{key}/{place}>", chance.choice(self.driver_ids), chance.randrange(1_000, 20_000), rail)
            for place in range(count)
        ]
        bodies = [want.body() for want in wants]
        if what == "bulk":
            return Request(key, "/api/v1/payouts/bulk", {"payouts": bodies, "urgency": rail}, wants)
        if what == "batch":
            at = datetime.now(UTC) + timedelta(seconds=chance.uniform(1.5, 8))
            body = {"name": key, "payouts": bodies, "urgency": rail, "scheduledFor": at.isoformat()}
            return Request(key, "/api/v1/batches", body, wants)
        if rail == "instant" and chance.random() < 0.5:
            return Request(key, "/api/v1/payouts/instant", bodies[0], wants)
        return Request(key, "/api/v1/payouts", bodies[0] | {"urgency": rail}, wants)

    async def _send(self, session: aiohttp.ClientSession, chance: random.Random, request: Request) -> None:
        """Repeat the request until there is a definite answer, each time at a random gateway."""
        while True:
            request.tries += 1
            try:
                url = chance.choice(self.gateways) + request.path
                async with session.post(url, json=request.body, headers={"Idempotency-Key": request.key}) as response:
                    status, body = response.status, await response.json()
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self.repeats[type(error).__name__] += 1
            else:
                code = body.get("error", {}).get("code", "")
                if status < 500 and status != 429 and code != _NOT_YET:
                    _record_answer(request, status, body)
                    return
                self.repeats[f"{status} {code}"] += 1
            await asyncio.sleep(chance.uniform(0.2, 0.6))


def _record_answer(request: Request, status: int, body: Mapping[str, Any]) -> None:
    answer = body.get("data", body.get("error"))
    if request.status is None:
        request.status, request.answer = status, answer
    elif (status, answer) != (request.status, request.answer):
        request.contradicted = f"{request.status} {request.answer}, later {status} {answer}"[:400]


async def wait_until_ready(gateways: Sequence[str], within_seconds: float = 60.0) -> None:
    """Wait until each gateway is healthy."""
    deadline = time.monotonic() + within_seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        for url in gateways:
            while True:
                try:
                    async with session.get(f"{url}/health") as response:
                        if response.status == 200:
                            break
                except (aiohttp.ClientError, TimeoutError, OSError):
                    pass
                assert time.monotonic() < deadline, f"{url} is not healthy"
                await asyncio.sleep(0.1)
