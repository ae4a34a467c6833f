"""COUNTS: figures without noise: round trips, WAL, Redis commands and bytes, per payout and per request.

Counted by Postgres (pg_stat_statements, the WAL's position) and by Redis (INFO commandstats, MONITOR), while nothing
else happens: services that have no part in a step sleep. A round trip is a statement, BEGIN and COMMIT among them.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice

import redis

from shared.platform import task_queue
from shared.platform.ids import DRIVER, new_id, parse_id
from tests.benchmarks import flow, statements
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.lines import b5_batch, b10_webhooks_in
from tests.benchmarks.load import Aim, requests_of
from tests.benchmarks.payload import BULK, bulk, single
from tests.benchmarks.statements import Statement
from tests.benchmarks.storm import storm
from tests.benchmarks.system import PATIENCE_SECONDS, System
from tests.support.polling import until

_SCRIPTS = ("enqueue", "fetch", "ack")
_CONNECTING = ("hello", "client", "select", "ping")
SHOWN = 25
"""The number of statements that are shown."""


@dataclass
class Counted:
    """The counts of a step."""

    statements: list[Statement] = field(default_factory=list)
    """With BEGIN and COMMIT."""
    wal_bytes: int = 0
    """Of everything that Postgres wrote."""
    redis: Counter[str] = field(default_factory=Counter)
    """Commands by name, those of Dramatiq's script by operation; without what scripts call."""

    @property
    def trips(self) -> int:
        """Round trips to Postgres."""
        return sum(one.calls for one in self.statements)

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return sum(one.calls for one in self.statements if one.text.upper().startswith("BEGIN"))

    @property
    def written_bytes(self) -> int:
        """WAL of the statements, without vacuum and commits."""
        return sum(one.wal_bytes for one in self.statements)


def measure(bench: Bench) -> None:
    """Run every step once to warm up and once to count."""
    system = bench.system()
    flow.run(bench, system, 1_000)
    system.until_idle()
    _accepting(bench, system)
    _whole_way(bench, system)
    _notices(bench, system)
    _messages(bench)


def _accepting(bench: Bench, system: System) -> None:
    with system.suspended("workers", "scheduler", "paystream"):
        for what, aim, payouts, requests, connections in (
            ("a single POST", single(system), 1, 1, 1),
            ("64 single POSTs at once", single(system), 1, 64, 64),
            (f"a bulk of {BULK}", bulk(system), BULK, 1, 1),
        ):

            def send(aim: Aim = aim, requests: int = requests, connections: int = connections) -> None:
                made = list(islice(requests_of(aim.templates), requests))
                assert not storm(aim.url, made, connections).refused

            counted = _counted(system, send, send)
            many = payouts * requests
            bench.add(f"{what}: statements to Postgres", counted.trips, "", note=f"{counted.transactions} transactions")
            bench.add(f"{what}: WAL a payout", counted.written_bytes / many, "B", note=_all_wal(counted, many))
            bench.add(
                f"{what}: Redis commands a request", sum(counted.redis.values()) / requests, "", note=_said(counted)
            )
            bench.tell(f"{what}, statements:\n{statements.as_text(counted.statements)}")
    system.until_idle()


def _whole_way(bench: Bench, system: System) -> None:
    """From acceptance to completion; the scheduler is suspended, because its ticks depend on the clock."""
    payouts, batch = bench.size(2_000, 1_000), bench.size(b5_batch.PAYOUTS, b5_batch.IN_SMALL)

    def in_bulk(count: int) -> None:
        flow.run(bench, system, count)
        system.until_idle()

    def in_batch(batch_id: str) -> None:
        b5_batch.released(system, batch_id)
        system.until_idle()

    with system.suspended("scheduler"):
        counted = _counted(system, lambda: in_bulk(200), lambda: in_bulk(payouts))
        _tell_way(bench, f"{payouts:,} payouts in bulk, accepted → completed", counted, payouts)
        handed_in = [b5_batch.hand_in(bench, system) for _ in range(2)]
        counted = _counted(system, lambda: in_batch(handed_in[0]), lambda: in_batch(handed_in[1]))
        _tell_way(bench, f"a batch of {batch:,}, released → completed", counted, batch)


def _tell_way(bench: Bench, what: str, counted: Counted, payouts: int) -> None:
    messages = counted.redis["enqueue"]
    bench.add(
        f"{what}: statements a payout", counted.trips / payouts, "", note=f"{counted.transactions:,} transactions"
    )
    bench.add(f"{what}: WAL a payout", counted.written_bytes / payouts, "B", note=_all_wal(counted, payouts))
    bench.add(f"{what}: messages a payout", messages / payouts, "", note=f"{messages:,} messages; {_said(counted)}")
    bench.tell(f"{what}, statements:\n{statements.as_text(counted.statements[:SHOWN])}")


def _notices(bench: Bench, system: System) -> None:
    """Provider events: stored by the gateway, applied by a worker."""
    count = 500
    driver_id = parse_id(DRIVER, system.drivers[0])
    assert driver_id is not None
    with system.engine() as engine:
        ids = [b10_webhooks_in.processing(engine, system.wallet_id, driver_id, count) for _ in range(2)]
    sent = [b10_webhooks_in.webhooks(one, system.stack["webhook_secret"]) for one in ids]
    url, completed, connections = system.stack["gateway"], system.count(), b10_webhooks_in.CONNECTIONS

    def until_applied(times: int) -> None:
        until(lambda: system.count() >= completed + times * count, "they are applied", PATIENCE_SECONDS, 0.02)

    def first() -> None:
        storm(url, sent[0], connections)
        until_applied(1)

    with system.suspended("scheduler", "paystream"), ExitStack() as sleeping:

        def warm() -> None:
            first()
            sleeping.enter_context(system.suspended("workers"))

        def wake() -> None:
            sleeping.close()
            until_applied(2)

        stored = _counted(system, warm, lambda: storm(url, sent[1], connections))
        applied = _counted(system, lambda: None, wake)
    for what, counted in (("stored", stored), ("applied", applied)):
        bench.add(f"{count} webhooks at once, {what}: statements each", counted.trips / count, "", note=_said(counted))
        bench.add("the same: WAL each", counted.written_bytes / count, "B", note=_all_wal(counted, count))


def _messages(bench: Bench) -> None:
    """Return the sizes of the messages."""
    for ids in (1, 500):
        [message] = task_queue.build_messages(task_queue.QUEUE_PAYOUTS, [new_id() for _ in range(ids)])
        size = len(message.copy(options={"redis_message_id": str(uuid.uuid4())}).encode())
        bench.add(f"bytes of a message for {ids} payouts", size, "B", note=f"{size / ids:.0f} a payout")


def _counted(system: System, warm: Callable[[], object], act: Callable[[], object]) -> Counted:
    """Count what happens during `act`. A checkpoint and `warm` come first, because full-page images after a checkpoint
    would be counted.
    """
    counted = Counted()
    client = redis.Redis.from_url(system.stack["redis_url"])
    with system.database() as database:
        database.execute("CHECKPOINT")
        warm()
        before = statements.so_far(database)
        [began] = database.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or [None]
        with _monitored(system.stack["redis_url"], client, counted.redis):
            act()
        [wal_bytes] = database.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [began]).fetchone() or [0]
        counted.wal_bytes = int(wal_bytes)
        counted.statements = statements.since(database, before)
    client.close()
    return counted


@contextmanager
def _monitored(url: str, client: redis.Redis, seen: Counter[str]) -> Iterator[None]:
    """Count the commands that Redis gets from clients, without what scripts call."""
    mark = f"bench-{uuid.uuid4().hex}"
    watching = threading.Event()

    def watch() -> None:
        with redis.Redis.from_url(url).monitor() as monitor:  # type: ignore[no-untyped-call]
            watching.set()
            for one in monitor.listen():
                command = one["command"]
                if mark in command:
                    return
                if one.get("client_type") != "lua" and _named(command) not in _CONNECTING:
                    seen[_named(command)] += 1

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert watching.wait(5), "Redis does not let itself be watched"
    yield
    time.sleep(0.1)  # messages of the last moment are in transit
    client.echo(mark)
    thread.join(10)


def _named(command: str) -> str:
    """Return the name of a command, for Dramatiq's script with its operation."""
    words = command.split(maxsplit=5)
    name = words[0].lower()
    if name in ("eval", "evalsha"):
        return next(
            (word for word in _SCRIPTS if word in words[1:6]), "rate limit" if "ovnpay:rate" in command else name
        )
    return name


def _said(counted: Counted) -> str:
    return "Redis: " + (", ".join(f"{calls:,} {name}" for name, calls in counted.redis.most_common(5)) or "nothing")


def _all_wal(counted: Counted, many: int) -> str:
    return f"{counted.wal_bytes / many:,.0f} with commits and vacuum"


LINE = Line("COUNTS", "statements, WAL, Redis commands, bytes: exact on any machine", measure)
