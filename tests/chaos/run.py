"""One run: start the system, load it, inject the plan's faults, heal it, wait, and evaluate the records."""

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
from tests.chaos.injector import Injector
from tests.chaos.links import Link
from tests.chaos.load import Load, wait_until_ready
from tests.chaos.open_work import wait_until_ended
from tests.chaos.outcome import RunOutcome, evaluate_run
from tests.chaos.plan import LINKS, Plan
from tests.support.customer import Customer
from tests.support.ports import free_port
from tests.support.stack import Stack, running_stack

RECOVERED_SECONDS: Final = 120.0
"""Time until all work must have ended after the healing."""
_DRIVERS: Final = 6
_FUNDS_CENTS: Final = 10_000_000_00
_TARGETS: Final = ("postgres", "valkey", "paystream", "gateway-1", "gateway-2")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    plan: Plan
    without: str
    """The safeguards that were removed."""
    outcome: RunOutcome
    injected: Counter[str]
    """Injected faults by kind."""
    requests: int
    repeats: Counter[str]
    recovery_seconds: float
    seconds: float
    """Duration, start and end included."""

    @property
    def is_good(self) -> bool:
        return not self.outcome.violations


def run_chaos(
    plan: Plan, home: Path, report: Report, *, without: str = "", within_seconds: float = RECOVERED_SECONDS
) -> Result:
    """Run the plan in `home`, an empty folder that has its logs and data afterwards."""
    return asyncio.run(_run(plan, home, report, without, within_seconds))


async def _run(plan: Plan, home: Path, report: Report, without: str, within_seconds: float) -> Result:
    started = time.monotonic()
    async with AsyncExitStack() as opened:
        report("starting the system")
        links, stack = await opened.enter_async_context(_system(home, without))
        # In a thread: it may wait for a lock of a service that waits for its link, and the links run in this thread.
        await asyncio.to_thread(journal.install_journal, stack["database_url"])
        customer = Customer(stack["gateway"], stack["sandbox_key"])
        with _run_scheduler(stack) if controls.DUE_TICK in without else nullcontext():
            driver_ids, spendable_cents = await asyncio.to_thread(_prepare, customer)
        through = [f"http://127.0.0.1:{links[f'client>gateway-{number}'].port}" for number in (1, 2)]
        await wait_until_ready(through)
        load = Load(through, stack["sandbox_key"], driver_ids, plan.seed)
        injector = Injector(stack, links)
        await injector.begin(plan.habits)
        load.start()
        progress = asyncio.create_task(_progress(plan, injector, load, report))
        try:
            await injector.run(plan.faults, plan.seconds)
        finally:
            progress.cancel()
        await injector.heal()
        healed = time.monotonic()
        report("healed; the clients get their last answers")
        unanswered = await load.stop(within_seconds)
        _, left = await wait_until_ended(stack, within_seconds - (time.monotonic() - healed), report)
        recovery_seconds = time.monotonic() - healed
        if unanswered:
            left = {**left, "clients without an answer": unanswered}
        report(f"evaluating, after {time.monotonic() - started:.0f} s")
        owners = journal.ConnectionOwners(_opened_by(links))
        outcome = await asyncio.to_thread(evaluate_run, stack, load.requests, owners, left, spendable_cents)
        injected = _injected(injector, links)
    seconds = time.monotonic() - started
    return Result(plan, without, outcome, injected, len(load.requests), load.repeats, recovery_seconds, seconds)


@asynccontextmanager
async def _system(home: Path, without: str) -> AsyncIterator[tuple[dict[str, Link], Stack]]:
    """Start the links, and the system behind them."""
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
        system.LINKS_VARIABLE: system.encode_links(links),
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
def _run_scheduler(stack: Stack) -> Iterator[None]:
    """Run a complete scheduler: without a tick the wallet could not even be funded."""
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


def _prepare(customer: Customer) -> tuple[list[str], int]:
    """Create drivers and funds, before any fault."""
    customer.fund(_FUNDS_CENTS)
    invited = [customer.register(f"Driver {number}")["id"] for number in range(_DRIVERS)]
    return [customer.until_verified(driver_id)["id"] for driver_id in invited], customer.available_cents()


async def _progress(plan: Plan, injector: Injector, load: Load, report: Report) -> None:
    started = time.monotonic()
    while True:
        answered = sum(request.status is not None for request in load.requests)
        repeats = load.repeats.total()
        report(
            f"{time.monotonic() - started:3.0f} of {plan.seconds} s: {len(injector.done)} of {len(plan.faults)} faults,"
            f" {answered} of {len(load.requests)} requests answered, {repeats} repeats"
        )
        await asyncio.sleep(1)


def _opened_by(links: dict[str, Link]) -> dict[str, list[tuple[float, int]]]:
    """Return the connections to Postgres by service."""
    return {name.partition(">")[0]: link.opened for name, link in links.items() if name.endswith(">postgres")}


def _injected(injector: Injector, links: dict[str, Link]) -> Counter[str]:
    counts = Counter(fault.kind.value for fault in injector.done)
    counts.update(injector.hits)
    counts["COMMIT replies lost"] = sum(link.commits_lost for link in links.values())
    return counts
