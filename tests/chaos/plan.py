"""The plan: which fault is injected when, and for how long. The same seed and seconds give the same plan."""

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

GATEWAYS: Final = ("gateway-1", "gateway-2")
WORKERS: Final = ("workers-1", "workers-2")
SCHEDULERS: Final = ("scheduler-1", "scheduler-2")
SERVICES: Final = (*GATEWAYS, *WORKERS, *SCHEDULERS)
PROCESSES: Final = (*SERVICES, "paystream", "valkey", "postgres")

LINKS: Final = (
    *(f"{service}>postgres" for service in SERVICES),
    *(f"{service}>valkey" for service in SERVICES),
    *(f"{workers}>paystream" for workers in WORKERS),
    *(f"client>{gateway}" for gateway in GATEWAYS),
    "paystream>gateway",
)
"""The connections between processes, by direction."""


class FaultKind(enum.StrEnum):
    """The kinds of faults."""

    KILL = "kill -9"
    """Kills a process; the supervisor starts another."""
    STOP = "SIGSTOP, late SIGCONT"
    """Stops a process with its children, for longer than a lease."""
    FLUSH = "FLUSHALL"
    REDIS_DOWN = "Redis down"
    """Unreachable for a while; keeps its data."""
    REDIS_EMPTY = "Redis restarted empty"
    POSTGRES_RESTART = "Postgres immediate restart"
    COMMIT_LOST = "reply to COMMIT dropped"
    """The next few commits of a service succeed without a reply."""
    RESET = "connections reset"
    """Resets all connections of one link; given another link as its detail, while a call of that one is open."""
    SLOW_LINK = "link slow"
    THROTTLED = "429 storm"
    """Paystream answers every request with 429."""
    SILENT_PROVIDER = "no answers"
    """Paystream does nothing, and every call times out."""
    SLOW_PROVIDER = "slow answers"
    """Paystream acts, and answers late."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at_seconds: float
    kind: FaultKind
    target: str
    lasts_seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class ProviderHabit:
    """A permanent fault of Paystream: a fault of the simulator, and how often it hits."""

    fault: str
    rate: float
    endpoint: str = "*"
    label: str = ""
    """Its name in the report."""


PROVIDER_HABITS: Final = (
    ProviderHabit("timeout_after_accept", 0.2, "payments", "accepted, then no answer"),
    ProviderHabit("timeout_after_accept", 0.2, "batches", "accepted, then no answer"),
    ProviderHabit("error_500_after_accept", 0.1, "payments", "accepted, then 500"),
    ProviderHabit("error_500_after_accept", 0.1, "batches", "accepted, then 500"),
    ProviderHabit("slow:1.0", 0.25, "payments", "slow answers"),
    ProviderHabit("slow:1.0", 0.25, "batches", "slow answers"),
    ProviderHabit("lost_webhook", 0.3, label="webhooks lost"),
    ProviderHabit("late_webhook:6", 0.2, label="webhooks late"),
    ProviderHabit("duplicate_webhook", 0.2, label="webhooks duplicated"),
    ProviderHabit("reorder_webhooks", 0.2, label="webhooks reordered"),
    ProviderHabit("fail:BANK_REJECTED", 0.05, label="payments fail"),
)


@dataclass(frozen=True)
class Plan:
    """The faults and habits of a run."""

    seed: int
    seconds: int
    faults: tuple[Fault, ...]
    habits: tuple[ProviderHabit, ...] = PROVIDER_HABITS

    def table(self) -> Iterator[str]:
        """Yield the plan, one line each."""
        yield f"plan of seed {self.seed}, {self.seconds} s: {len(self.faults)} faults, and all the time:"
        for habit in self.habits:
            yield f"          {habit.rate:4.0%}  {habit.label} ({habit.fault}, {habit.endpoint})"
        for fault in self.faults:
            lasts = f"for {fault.lasts_seconds:4.1f} s" if fault.lasts_seconds else ""
            what = f"{fault.kind:<27} {fault.target:<22} {lasts:<10} {fault.detail}"
            yield f"  {fault.at_seconds:5.1f} s  {what}".rstrip()


LEASE_SECONDS: Final = 4.0
"""Lease of the tested system; a stop lasts longer."""
REDIS_DOWN_SECONDS: Final = 30.0
"""In a run of a minute or longer; a fifth of a shorter run."""

SILENCES_MAX: Final = 2
"""Number of stops of workers during which Paystream is silent; more would silence it most of the time."""

_DECK: Final = {
    FaultKind.KILL: 9,
    FaultKind.STOP: 6,
    FaultKind.COMMIT_LOST: 5,
    FaultKind.RESET: 4,
    FaultKind.SLOW_PROVIDER: 3,
    FaultKind.POSTGRES_RESTART: 2,
    FaultKind.FLUSH: 2,
    FaultKind.THROTTLED: 2,
    FaultKind.SILENT_PROVIDER: 1,
    FaultKind.SLOW_LINK: 2,
    FaultKind.REDIS_EMPTY: 1,
}
"""The weight of each kind, besides the one of each that every longer plan has."""


def make_plan(seed: int, seconds: int) -> Plan:
    """Make the plan of a seed."""
    chance = random.Random(f"chaos {seed} {seconds}")
    count = max(seconds * 3 // 5, 6)
    kinds = list(FaultKind)
    chance.shuffle(kinds)
    kinds = kinds[:count]
    kinds += chance.choices(list(_DECK), list(_DECK.values()), k=count - len(kinds))
    faults = [_fault(chance, kind, seconds) for kind in kinds]
    stops = [fault for fault in faults if fault.kind is FaultKind.STOP and fault.target in WORKERS]
    faults += map(_silence_around, stops[:SILENCES_MAX])
    return Plan(seed, seconds, tuple(sorted(faults, key=lambda fault: fault.at_seconds)))


def _fault(chance: random.Random, kind: FaultKind, seconds: int) -> Fault:
    longest = seconds / 2
    at = round(chance.uniform(0.5, seconds - 1.0), 1)
    match kind:
        case FaultKind.KILL:
            target = chance.choice(PROCESSES)
            within = {"workers": "a child of it", "postgres": "a backend of it"}.get(target.partition("-")[0], "")
            return Fault(at, kind, target, detail=chance.choice(("", within)))
        case FaultKind.STOP:
            # Mostly workers, because they have leases; early enough to continue while the others work.
            target = chance.choice((*WORKERS * 4, *SERVICES))
            at = round(chance.uniform(2.0, max(seconds * 0.6, 2.5)), 1)
            return Fault(at, kind, target, _lasts(chance, LEASE_SECONDS + 1, LEASE_SECONDS + 6, longest))
        case FaultKind.REDIS_DOWN:
            at = round(chance.uniform(0.5, longest), 1)
            lasts = REDIS_DOWN_SECONDS if seconds >= 2 * REDIS_DOWN_SECONDS else seconds / 5
            return Fault(at, kind, "valkey", lasts)
        case FaultKind.FLUSH | FaultKind.REDIS_EMPTY:
            return Fault(at, kind, "valkey")
        case FaultKind.POSTGRES_RESTART:
            return Fault(at, kind, "postgres")
        case FaultKind.COMMIT_LOST:
            target = chance.choice((*GATEWAYS, *WORKERS, *SERVICES))
            return Fault(at, kind, f"{target}>postgres", detail=f"{chance.randint(1, 4)} times")
        case FaultKind.RESET:
            return Fault(at, kind, chance.choice(LINKS))
        case FaultKind.SLOW_LINK:
            lasts = _lasts(chance, 2, 6, longest)
            return Fault(at, kind, chance.choice(LINKS), lasts, f"{chance.choice((20, 50, 150))} ms each way")
        case FaultKind.THROTTLED | FaultKind.SILENT_PROVIDER:
            return Fault(at, kind, "paystream", _lasts(chance, 2, 6, longest))
        case FaultKind.SLOW_PROVIDER:
            lasts = _lasts(chance, 3, 8, longest)
            return Fault(at, kind, "paystream", lasts, f"{chance.choice((0.5, 1.0, 1.4))} s late")


def _silence_around(stop: Fault) -> Fault:
    """Silence Paystream from before a worker is stopped until after it continues.

    Its calls are open when it stops, and other workers have taken them over when it continues with outdated results.
    """
    return Fault(
        round(max(stop.at_seconds - 1.0, 0.0), 1), FaultKind.SILENT_PROVIDER, "paystream", stop.lasts_seconds + 3.0
    )


def _lasts(chance: random.Random, least: float, most: float, longest: float) -> float:
    return round(min(chance.uniform(least, most), max(longest, least)), 1)
