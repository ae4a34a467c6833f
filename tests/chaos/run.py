"""One run: the system is started, loaded and broken by a plan, healed, waited for, and judged."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import controls, journal, system
from tests.chaos.ending import until_ended
from tests.chaos.injector import Injector
from tests.chaos.links import Link
from tests.chaos.load import Load, until_ready
from tests.chaos.plan import LINKS, Plan
from tests.chaos.verdict import Verdict, judge
from tests.support.customer import Customer
from tests.support.ports import free_port
from tests.support.stack import Stack, running_stack

RECOVERED_SECONDS: Final = 120.0
"""Within which everything has to have ended once everything is whole again."""
_DRIVERS: Final = 6
_FUNDS_CENTS: Final = 10_000_000_00
_TARGETS: Final = ("postgres", "valkey", "paystream", "gateway-1", "gateway-2")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    plan: Plan
    without: str
    """The safeguards that were switched off."""
    verdict: Verdict
    injected: Counter[str]
    """What was done to the system, by kind."""
    requests: int
    repeats: Counter[str]
    recovery_seconds: float
    seconds: float
    """Of everything, the start and the end included."""

    @property
    def is_good(self) -> bool:
        return not self.verdict.breaks


def run(plan: Plan, home: Path, tell: Tell, *, without: str = "", within_seconds: float = RECOVERED_SECONDS) -> Result:
    """Runs the plan in `home`, an empty folder that has its logs and data afterwards."""
    return asyncio.run(_run(plan, home, tell, without, within_seconds))


async def _run(plan: Plan, home: Path, tell: Tell, without: str, within_seconds: float) -> Result:
    started = time.monotonic()
    async with AsyncExitStack() as opened:
        tell("starting the system")
        links, stack = await opened.enter_async_context(_system(home, without))
        # In a thread: it may wait for a service's lock, and the service for its link, which runs in this one.
        await asyncio.to_thread(journal.install, stack["database_url"])
        customer = Customer(stack["gateway"], stack["sandbox_key"])
        with _ticking(stack) if controls.DUE_TICK in without else nullcontext():
            driver_ids, spendable_cents = await asyncio.to_thread(_prepared, customer)
        through = [f"http://127.0.0.1:{links[f'client>gateway-{number}'].port}" for number in (1, 2)]
        await until_ready(through)
        load = Load(through, stack["sandbox_key"], driver_ids, plan.seed)
        injector = Injector(stack, links)
        await injector.begin(plan.habits)
        load.start()
        progress = asyncio.create_task(_progress(plan, injector, load, tell))
        try:
            await injector.run(plan.faults, plan.seconds)
        finally:
            progress.cancel()
        await injector.heal()
        healed = time.monotonic()
        tell("healed; the clients get their last answers")
        unanswered = await load.stop(within_seconds)
        _, left = await until_ended(stack, within_seconds - (time.monotonic() - healed), tell)
        recovery_seconds = time.monotonic() - healed
        if unanswered:
            left = {**left, "clients without an answer": unanswered}
        tell(f"judging, after {time.monotonic() - started:.0f} s")
        owners = journal.Owners(_opened_by(links))
        verdict = await asyncio.to_thread(judge, stack, load.requests, owners, left, spendable_cents)
        injected = _injected(injector, links)
    seconds = time.monotonic() - started
    return Result(plan, without, verdict, injected, len(load.requests), load.repeats, recovery_seconds, seconds)


@asynccontextmanager
async def _system(home: Path, without: str) -> AsyncIterator[tuple[dict[str, Link], Stack]]:
    """The links, and the system behind them."""
    ports = {name: free_port() for name in _TARGETS}
    links: dict[str, Link] = {}
    for name in LINKS:
        to = name.partition(">")[2]
        targets = [ports["gateway-1"], ports["gateway-2"]] if to == "gateway" else [ports[to]]
        links[name] = Link(name, targets, speaks_postgres=to == "postgres")
        await links[name].start()
    settings = {
        **system.SETTINGS,
        "OVNPAY_POSTGRES_PORT": str(ports["postgres"]),
        "OVNPAY_VALKEY_PORT": str(ports["valkey"]),
        "PAYSTREAM_SIM_PORT": str(ports["paystream"]),
        "OVNPAY_GATEWAY_PORT": str(ports["gateway-1"]),
        system.SECOND_GATEWAY_VARIABLE: str(ports["gateway-2"]),
        system.LINKS_VARIABLE: system.written(links),
        "PAYSTREAM_SIM_WEBHOOK_URL": f"http://127.0.0.1:{links['paystream>gateway'].port}/api/v1/webhooks/paystream",
        **({system.WITHOUT_VARIABLE: without} if without else {}),
    }
    running = running_stack(home, command=("-m", "tests.chaos.system"), **settings)
    try:
        stack = await asyncio.to_thread(running.__enter__)
        try:
            yield links, stack
        except BaseException as error:
            await asyncio.to_thread(running.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(running.__exit__, None, None, None)
    finally:
        await asyncio.gather(*(link.stop() for link in links.values()))


@contextmanager
def _ticking(stack: Stack) -> Iterator[None]:
    """A scheduler with everything on: without a tick nobody could even be funded."""
    environment = {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
        "OVNPAY_SCHEDULER_METRICS_PORT": str(free_port()),
    }
    with (stack.home / "logs" / "preparing.log").open("wb") as log:
        scheduler = subprocess.Popen([sys.executable, "-m", "scheduler"], env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        scheduler.terminate()
        scheduler.wait(20)


def _prepared(customer: Customer) -> tuple[list[str], int]:
    """Drivers who can be paid, and money; before anything breaks."""
    customer.fund(_FUNDS_CENTS)
    invited = [customer.register(f"Driver {number}")["id"] for number in range(_DRIVERS)]
    return [customer.until_verified(driver_id)["id"] for driver_id in invited], customer.available_cents()


async def _progress(plan: Plan, injector: Injector, load: Load, tell: Tell) -> None:
    started = time.monotonic()
    while True:
        answered = sum(request.status is not None for request in load.requests)
        repeats = load.repeats.total()
        tell(
            f"{time.monotonic() - started:3.0f} of {plan.seconds} s: {len(injector.done)} of {len(plan.faults)} faults,"
            f" {answered} of {len(load.requests)} requests answered, {repeats} repeats"
        )
        await asyncio.sleep(1)


def _opened_by(links: dict[str, Link]) -> dict[str, list[tuple[float, int]]]:
    """The connections to Postgres, by service."""
    return {name.partition(">")[0]: link.opened for name, link in links.items() if name.endswith(">postgres")}


def _injected(injector: Injector, links: dict[str, Link]) -> Counter[str]:
    counts = Counter(fault.kind.value for fault in injector.done)
    counts.update(injector.hits)
    counts["COMMIT replies lost"] = sum(link.commits_lost for link in links.values())
    return counts
