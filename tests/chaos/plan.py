"""What breaks, when, and for how long? Made from the seed alone: the same seed and seconds give the same plan."""

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
"""Everything that is between two processes, by which way it goes."""


class Kind(enum.StrEnum):
    """What is done to the system."""

    KILL = "kill -9"
    """Of a process; the supervisor starts another."""
    STOP = "SIGSTOP, late SIGCONT"
    """Of a process with its children, for longer than a lease."""
    FLUSH = "FLUSHALL"
    REDIS_DOWN = "Redis down"
    """Nobody reaches it; what it held is there again afterwards."""
    REDIS_EMPTY = "Redis restarted empty"
    POSTGRES_RESTART = "Postgres immediate restart"
    COMMIT_LOST = "reply to COMMIT dropped"
    """The next few of a service: it is committed, and nobody hears so."""
    RESET = "connections reset"
    """All of one link, at one moment; with another link as its detail, as soon as a call of that one is in the air."""
    SLOW_LINK = "link slow"
    THROTTLED = "429 storm"
    """From Paystream, whatever is asked."""
    SILENT_PROVIDER = "no answers"
    """From Paystream, which does nothing either: every call times out."""
    SLOW_PROVIDER = "slow answers"
    """From Paystream, which has done what it was asked."""


@dataclass(frozen=True)
class Fault:
    """One thing that is done."""

    at_seconds: float
    kind: Kind
    target: str
    lasts_seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Habit:
    """How Paystream misbehaves all the time: a fault of the simulator's, and how often it hits."""

    fault: str
    rate: float
    endpoint: str = "*"
    called: str = ""
    """What the report calls it."""


HABITS: Final = (
    Habit("timeout_after_accept", 0.2, "payments", "accepted, then no answer"),
    Habit("timeout_after_accept", 0.2, "batches", "accepted, then no answer"),
    Habit("error_500_after_accept", 0.1, "payments", "accepted, then 500"),
    Habit("error_500_after_accept", 0.1, "batches", "accepted, then 500"),
    Habit("slow:1.0", 0.25, "payments", "slow answers"),
    Habit("slow:1.0", 0.25, "batches", "slow answers"),
    Habit("lost_webhook", 0.3, called="webhooks lost"),
    Habit("late_webhook:6", 0.2, called="webhooks late"),
    Habit("duplicate_webhook", 0.2, called="webhooks duplicated"),
    Habit("reorder_webhooks", 0.2, called="webhooks reordered"),
    Habit("fail:BANK_REJECTED", 0.05, called="payments fail"),
)


@dataclass(frozen=True)
class Plan:
    """All of it."""

    seed: int
    seconds: int
    faults: tuple[Fault, ...]
    habits: tuple[Habit, ...] = HABITS

    def table(self) -> Iterator[str]:
        """The plan for people, a line each."""
        yield f"plan of seed {self.seed}, {self.seconds} s: {len(self.faults)} faults, and all the time:"
        for habit in self.habits:
            yield f"          {habit.rate:4.0%}  {habit.called} ({habit.fault}, {habit.endpoint})"
        for fault in self.faults:
            lasts = f"for {fault.lasts_seconds:4.1f} s" if fault.lasts_seconds else ""
            what = f"{fault.kind:<27} {fault.target:<22} {lasts:<10} {fault.detail}"
            yield f"  {fault.at_seconds:5.1f} s  {what}".rstrip()


LEASE_SECONDS: Final = 4.0
"""Of the system under chaos; a stop lasts longer."""
REDIS_DOWN_SECONDS: Final = 30.0
"""In a run of a minute or longer; in a shorter one a fifth of it, or little else would happen."""

SILENCES_MOST: Final = 2
"""Around so many of the stops of workers; more, and Paystream would be silent most of the time."""

_DECK: Final = {
    Kind.KILL: 9,
    Kind.STOP: 6,
    Kind.COMMIT_LOST: 5,
    Kind.RESET: 4,
    Kind.SLOW_PROVIDER: 3,
    Kind.POSTGRES_RESTART: 2,
    Kind.FLUSH: 2,
    Kind.THROTTLED: 2,
    Kind.SILENT_PROVIDER: 1,
    Kind.SLOW_LINK: 2,
    Kind.REDIS_EMPTY: 1,
}
"""How often each is drawn, beside the one of each kind that every plan of some length has."""


def make_plan(seed: int, seconds: int) -> Plan:
    """The plan of this seed for so many seconds."""
    chance = random.Random(f"chaos {seed} {seconds}")
    count = max(seconds * 3 // 5, 6)
    kinds = list(Kind)
    chance.shuffle(kinds)
    kinds = kinds[:count]
    kinds += chance.choices(list(_DECK), list(_DECK.values()), k=count - len(kinds))
    faults = [_fault(chance, kind, seconds) for kind in kinds]
    stops = [fault for fault in faults if fault.kind is Kind.STOP and fault.target in WORKERS]
    faults += map(_silence_around, stops[:SILENCES_MOST])
    return Plan(seed, seconds, tuple(sorted(faults, key=lambda fault: fault.at_seconds)))


def _fault(chance: random.Random, kind: Kind, seconds: int) -> Fault:
    longest = seconds / 2
    at = round(chance.uniform(0.5, seconds - 1.0), 1)
    match kind:
        case Kind.KILL:
            target = chance.choice(PROCESSES)
            within = {"workers": "a child of it", "postgres": "a backend of it"}.get(target.partition("-")[0], "")
            return Fault(at, kind, target, detail=chance.choice(("", within)))
        case Kind.STOP:
            # Workers above all: they hold leases. Begun in time, so that it wakes up among the others' work.
            target = chance.choice((*WORKERS * 4, *SERVICES))
            at = round(chance.uniform(2.0, max(seconds * 0.6, 2.5)), 1)
            return Fault(at, kind, target, _lasts(chance, LEASE_SECONDS + 1, LEASE_SECONDS + 6, longest))
        case Kind.REDIS_DOWN:
            at = round(chance.uniform(0.5, longest), 1)
            lasts = REDIS_DOWN_SECONDS if seconds >= 2 * REDIS_DOWN_SECONDS else seconds / 5
            return Fault(at, kind, "valkey", lasts)
        case Kind.FLUSH | Kind.REDIS_EMPTY:
            return Fault(at, kind, "valkey")
        case Kind.POSTGRES_RESTART:
            return Fault(at, kind, "postgres")
        case Kind.COMMIT_LOST:
            target = chance.choice((*GATEWAYS, *WORKERS, *SERVICES))
            return Fault(at, kind, f"{target}>postgres", detail=f"{chance.randint(1, 4)} times")
        case Kind.RESET:
            return Fault(at, kind, chance.choice(LINKS))
        case Kind.SLOW_LINK:
            lasts = _lasts(chance, 2, 6, longest)
            return Fault(at, kind, chance.choice(LINKS), lasts, f"{chance.choice((20, 50, 150))} ms each way")
        case Kind.THROTTLED | Kind.SILENT_PROVIDER:
            return Fault(at, kind, "paystream", _lasts(chance, 2, 6, longest))
        case Kind.SLOW_PROVIDER:
            lasts = _lasts(chance, 3, 8, longest)
            return Fault(at, kind, "paystream", lasts, f"{chance.choice((0.5, 1.0, 1.4))} s late")


def _silence_around(stop: Fault) -> Fault:
    """Paystream is silent from before a worker is stopped until after it has woken up: it was stopped with calls in
    the air, others are at them when it wakes up, and what it has to say then is old.
    """
    return Fault(round(max(stop.at_seconds - 1.0, 0.0), 1), Kind.SILENT_PROVIDER, "paystream", stop.lasts_seconds + 3.0)


def _lasts(chance: random.Random, least: float, most: float, longest: float) -> float:
    return round(min(chance.uniform(least, most), max(longest, least)), 1)
