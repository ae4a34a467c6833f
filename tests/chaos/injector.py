"""Injects a plan's faults into the running system, and heals it."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import redis

from tests.chaos.links import Link
from tests.chaos.plan import Fault, FaultKind, ProviderHabit
from tests.support.stack import Stack, descendants_of

_CONTROL_PATIENCE_SECONDS: Final = 15.0
_CALL_PATIENCE_SECONDS: Final = 10.0


class Injector:
    """Injects faults into a stack and its links."""

    def __init__(self, stack: Stack, links: Mapping[str, Link]) -> None:
        self._stack = stack
        self._links = links
        self._stopped: set[int] = set()
        self.done: list[Fault] = []
        self.hits: dict[str, int] = {}
        """Hits of each of Paystream's habits, by its label."""
        self._habits: dict[str, ProviderHabit] = {}

    async def begin(self, habits: tuple[ProviderHabit, ...]) -> None:
        """Turn Paystream's habits on."""
        for habit in habits:
            made = await self._control("POST", "/faults", fault=habit.fault, rate=habit.rate, endpoint=habit.endpoint)
            self._habits[made["id"]] = habit

    async def run(self, faults: tuple[Fault, ...], seconds: float) -> None:
        """Inject each fault at its time; return when the time is over and all have ended."""
        started = time.monotonic()

        async def at_its_time(fault: Fault) -> None:
            await asyncio.sleep(max(started + fault.at_seconds - time.monotonic(), 0))
            await self._do(fault)
            self.done.append(fault)

        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(seconds))
            for fault in faults:
                group.create_task(at_its_time(fault))

    async def heal(self) -> None:
        """End all faults."""
        for link in self._links.values():
            link.heal()
        self._continue(set(self._stopped))
        rules = (await self._control("GET", "/faults"))["faults"]
        for rule in rules:
            if habit := self._habits.get(rule["id"]):
                self.hits[habit.label] = self.hits.get(habit.label, 0) + rule["hits"]
        await self._control("DELETE", "/faults")

    async def _do(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.KILL:
                self._signal(self._victims(fault), signal.SIGKILL)
            case FaultKind.STOP:
                pids = self._victims(fault, whole=True)
                self._stopped |= pids
                self._signal(pids, signal.SIGSTOP)
                await asyncio.sleep(fault.lasts_seconds)
                self._continue(pids)
            case FaultKind.FLUSH:
                await asyncio.to_thread(self._flush)
            case FaultKind.REDIS_EMPTY:
                shutil.rmtree(self._stack.home / "valkey" / "appendonlydir", ignore_errors=True)
                self._signal(self._victims(fault), signal.SIGKILL)
            case FaultKind.REDIS_DOWN:
                await self._unreachable([link for name, link in self._links.items() if name.endswith(">valkey")], fault)
            case FaultKind.POSTGRES_RESTART:
                self._signal(self._victims(fault), signal.SIGQUIT)
            case FaultKind.COMMIT_LOST:
                self._links[fault.target].commits_to_lose += int(fault.detail.partition(" ")[0])
            case FaultKind.RESET:
                if fault.detail:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._links[fault.detail].in_the_air.wait(), _CALL_PATIENCE_SECONDS)
                self._links[fault.target].reset()
            case FaultKind.SLOW_LINK:
                link = self._links[fault.target]
                link.delay_seconds = int(fault.detail.partition(" ")[0]) / 1000
                await asyncio.sleep(fault.lasts_seconds)
                link.delay_seconds = 0.0
            case FaultKind.THROTTLED:
                await self._misbehave(fault.lasts_seconds, fault="rate_limited", oncePerKey=False)
            case FaultKind.SILENT_PROVIDER:
                await self._misbehave(fault.lasts_seconds, fault="timeout_before_accept", oncePerKey=False)
            case FaultKind.SLOW_PROVIDER:
                await self._misbehave(fault.lasts_seconds, fault=f"slow:{fault.detail.partition(' ')[0]}")

    async def _unreachable(self, links: list[Link], fault: Fault) -> None:
        for link in links:
            link.refuses = True
            link.reset()
        await asyncio.sleep(fault.lasts_seconds)
        for link in links:
            link.refuses = False

    async def _misbehave(self, lasts_seconds: float, **rule: object) -> None:
        made = await self._control("POST", "/faults", **rule)
        await asyncio.sleep(lasts_seconds)
        with suppress(LookupError):
            await self._control("DELETE", f"/faults/{made['id']}")

    def _victims(self, fault: Fault, *, whole: bool = False) -> set[int]:
        """Return the process, or a child of it, or with `whole` all of it; none while it restarts."""
        pid = self._stack.pid(fault.target)
        below = [] if pid is None else descendants_of(pid)
        if pid is None or whole:
            return set() if pid is None else {pid, *below}
        return {below[-1]} if fault.detail and below else {pid}

    def _signal(self, pids: set[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _continue(self, pids: set[int]) -> None:
        self._signal(pids, signal.SIGCONT)
        self._stopped -= pids

    def _flush(self) -> None:
        with suppress(redis.RedisError), redis.Redis.from_url(self._stack["redis_url"], socket_timeout=2) as client:
            client.flushall()

    async def _control(self, method: str, path: str, **body: object) -> Any:
        """Call the simulator's control API until it answers, because it may have been killed.

        Raises:
            LookupError: the fault no longer exists.

        """
        deadline = time.monotonic() + _CONTROL_PATIENCE_SECONDS
        async with aiohttp.ClientSession(self._stack["paystream"]) as session:
            while True:
                try:
                    async with session.request(method, f"/control{path}", json=body or None) as response:
                        answer = await response.json()
                        if response.status == 404:
                            raise LookupError(path)
                        assert response.status == 200, answer
                        return answer
                except (aiohttp.ClientError, OSError):
                    assert time.monotonic() < deadline, "the simulator does not answer"
                    await asyncio.sleep(0.2)
