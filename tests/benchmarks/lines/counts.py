"""COUNTS: what noise can't touch: round trips, WAL, Redis commands and bytes, for a payout and for a request.

Counted by Postgres (pg_stat_statements, the WAL's position) and by Redis (INFO commandstats, MONITOR), while nothing
else happens: services that have no part in a step sleep. A round trip is a statement, BEGIN and COMMIT among them.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from shared import broker
from shared.ids import new_id
from tests.acceptance.asking import until
from tests.benchmarks import flow
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.lines import b5_batch, b10_webhooks_in
from tests.benchmarks.load import requests_of
from tests.benchmarks.payload import BULK, bulk, single
from tests.benchmarks.storm import storm
from tests.benchmarks.system import System

_STATEMENTS = """
    SELECT calls, rows, wal_bytes, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements
    JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = 'ovnpay_app' ORDER BY calls DESC, query
"""
_SCRIPTS = ("enqueue", "fetch", "ack")


@dataclass
class Counted:
    """What a step took."""

    statements: dict[str, int] = field(default_factory=dict)
    """By their text; BEGIN and COMMIT among them."""
    wal_bytes: int = 0
    """Of everything that Postgres wrote meanwhile."""
    redis: Counter[str] = field(default_factory=Counter)
    """Commands by name, those of Dramatiq's script by what they do; not what the scripts call."""

    @property
    def trips(self) -> int:
        """Round trips to Postgres."""
        return sum(self.statements.values())

    @property
    def transactions(self) -> int:
        """How many were begun."""
        return sum(calls for text, calls in self.statements.items() if text.upper().startswith("BEGIN"))


def measure(bench: Bench) -> None:
    """Every step once to warm it up, then once to count it."""
    system = bench.system()
    flow.run(bench, system, 1_000)
    system.until_idle()
    _accepting(bench, system)
    _whole_way(bench, system)
    _notices(bench, system)
    _messages(bench)


def _accepting(bench: Bench, system: System) -> None:
    with system.asleep("workers", "scheduler", "paystream"):
        for what, aim, payouts, requests, connections in (
            ("a single POST", single(system), 1, 1, 1),
            ("64 single POSTs at once", single(system), 1, 64, 64),
            (f"a bulk of {BULK}", bulk(system), BULK, 1, 1),
        ):
            made = [
                [one for one, _ in zip(requests_of(aim.templates), range(requests), strict=False)] for _ in range(3)
            ]
            for warm in made[:2]:
                storm(aim.url, warm, connections)

            def send(aim: Any = aim, made: Any = made, connections: int = connections) -> None:
                assert not storm(aim.url, made[2], connections).refused

            counted = _counted(system, send)
            many = payouts * requests
            bench.add(
                f"{what}: round trips to Postgres", counted.trips, "", note=f"{counted.transactions} transactions"
            )
            bench.add(f"{what}: round trips a payout", counted.trips / many, "")
            bench.add(f"{what}: WAL a payout", counted.wal_bytes / many, "B")
            bench.add(
                f"{what}: Redis commands a request", sum(counted.redis.values()) / requests, "", note=_said(counted)
            )
            if requests == 1:
                bench.tell(
                    f"{what}, its statements: "
                    + " | ".join(f"{n} x {text[:90]}" for text, n in counted.statements.items())
                )
    system.until_idle()


def _whole_way(bench: Bench, system: System) -> None:
    """Accepted to completed; the scheduler sleeps, for its ticks are the clock's and not the payouts'."""
    payouts = bench.size(2_000, 1_000)
    with system.asleep("scheduler"):
        counted = _counted(system, lambda: flow.run(bench, system, payouts), until_quiet=True)
        _tell_way(bench, f"{payouts:,} payouts in bulk, accepted → completed", counted, payouts)
        batch = bench.size(b5_batch.PAYOUTS, b5_batch.IN_SMALL)
        batch_id = b5_batch.hand_in(bench, system)
        counted = _counted(system, lambda: b5_batch.released(bench, system, batch_id), until_quiet=True)
        _tell_way(bench, f"a batch of {batch:,}, released → completed", counted, batch)


def _tell_way(bench: Bench, what: str, counted: Counted, payouts: int) -> None:
    messages = counted.redis["enqueue"]
    bench.add(
        f"{what}: round trips a payout", counted.trips / payouts, "", note=f"{counted.transactions:,} transactions"
    )
    bench.add(f"{what}: WAL a payout", counted.wal_bytes / payouts, "B")
    bench.add(f"{what}: messages a payout", messages / payouts, "", note=f"{messages:,} messages; {_said(counted)}")
    busiest = sorted(counted.statements.items(), key=lambda one: -one[1])[:24]
    bench.tell(f"{what}, statements: " + " | ".join(f"{calls} x {text[:90]}" for text, calls in busiest))


def _notices(bench: Bench, system: System) -> None:
    """The provider's completions: stored at the door, applied by a worker."""
    count = 500
    from shared.ids import DRIVER, parse

    driver_id = parse(DRIVER, system.drivers[0])
    assert driver_id is not None
    with system.engine() as engine:
        ids = [b10_webhooks_in.processing(engine, system.wallet_id, driver_id, count) for _ in range(2)]
    sent = [b10_webhooks_in.webhooks(one, system.stack["webhook_secret"]) for one in ids]
    url, completed = system.stack["gateway"], system.count()
    with system.asleep("scheduler", "paystream"):
        storm(url, sent[0], b10_webhooks_in.CONNECTIONS)
        until(lambda: system.count() >= completed + count, "the first are applied", 60)
        with system.asleep("workers"):
            stored = _counted(system, lambda: storm(url, sent[1], b10_webhooks_in.CONNECTIONS))
        applied = _counted(system, lambda: until(lambda: system.count() >= completed + 2 * count, "applied", 60))
    for what, counted in (("stored", stored), ("applied", applied)):
        bench.add(f"{count} webhooks at once, {what}: round trips each", counted.trips / count, "", note=_said(counted))
        bench.add("the same: WAL each", counted.wal_bytes / count, "B")


def _messages(bench: Bench) -> None:
    """What a doorbell carries."""
    for ids in (1, 500):
        [message] = broker.messages(broker.QUEUE_PAYOUTS, [new_id() for _ in range(ids)])
        size = len(message.copy(options={"redis_message_id": str(uuid.uuid4())}).encode())
        bench.add(f"bytes of a message for {ids} payouts", size, "B", note=f"{size / ids:.0f} a payout")


def _counted(system: System, act: Callable[[], object], *, until_quiet: bool = False) -> Counted:
    """Counts what happens during an act; with `until_quiet`, and until all that it has set in motion has ended."""
    counted = Counted()
    client = redis.Redis.from_url(system.stack["redis_url"])
    with system.database() as database:
        database.execute("CHECKPOINT")
        database.execute("SELECT pg_stat_statements_reset()")
        [began] = database.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or [None]
        with _monitored(client, counted.redis):
            act()
            if until_quiet:
                system.until_idle()
        [wal_bytes] = database.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [began]).fetchone() or [0]
        counted.wal_bytes = int(wal_bytes)
        for calls, _, _, text in database.execute(_STATEMENTS).fetchall():
            counted.statements[text.strip()] = counted.statements.get(text.strip(), 0) + calls
    client.close()
    return counted


@contextmanager
def _monitored(client: redis.Redis, seen: Counter[str]) -> Iterator[None]:
    """Counts the commands that Redis gets from clients meanwhile; what a script calls is not one."""
    mark = f"bench-{uuid.uuid4().hex}"
    watching = threading.Event()

    def watch() -> None:
        with redis.Redis.from_url(
            client.connection_pool.connection_kwargs["host"] and _url(client)
        ).monitor() as monitor:
            watching.set()
            for one in monitor.listen():
                command = one["command"]
                if mark in command:
                    return
                if one.get("client_type") != "lua":
                    seen[_named(command)] += 1

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert watching.wait(5), "Redis does not let itself be watched"
    yield
    time.sleep(0.1)  # what was rung a moment ago is on its way
    client.echo(mark)
    thread.join(10)


def _url(client: redis.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options.get('db', 0)}"


def _named(command: str) -> str:
    """What a command is, and of Dramatiq's script what it does."""
    words = command.split(maxsplit=5)
    name = words[0].lower()
    if name in ("eval", "evalsha"):
        return next(
            (word for word in _SCRIPTS if word in words[1:6]), "rate limit" if "ovnpay:rate" in command else name
        )
    return name


def _said(counted: Counted) -> str:
    return "Redis: " + (", ".join(f"{calls:,} {name}" for name, calls in counted.redis.most_common(5)) or "nothing")


LINE = Line("COUNTS", "statements, round trips, WAL, Redis commands, bytes: exact on any machine", measure)
