"""`ovnpay queues`: how each queue stands in Redis, and beside it what is due in the database."""

import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shared.cli.operator.stores import DataStores, open_stores
from shared.operations import due_rows
from shared.platform.clock import format_rfc3339
from shared.platform.queue_statuses import QueueStatus, load_queue_statuses
from shared.platform.task_queue import QUEUES

EVERY_SECONDS = 1.0
AWAY = "?"
QUEUE_OF = {kind.name: kind.task.queue for kind in (*due_rows.DUE_KINDS, due_rows.WEBHOOK_KIND)}


class QueueReading(NamedTuple):
    """What the two say at a moment; a sentence where one is away."""

    at: datetime
    in_redis: list[QueueStatus] | str
    in_database: dict[str, tuple[int, float]] | str
    """For each kind of due rows: how many, and the oldest one's age in seconds."""

    def due_of(self, queue: str) -> tuple[int, float] | None:
        """How many rows are due that the queue's actors work on, and the oldest one's age; None: nobody says."""
        if isinstance(self.in_database, str):
            return None
        found = [figures for kind, figures in self.in_database.items() if QUEUE_OF[kind] == queue]
        return sum(count for count, _ in found), max(age_seconds for _, age_seconds in found)


def print_queues(*, once: bool, as_json: bool) -> None:
    """Shows it again each second until Ctrl-C; once where that is asked for, or nobody watches. Exits with 2 where
    neither of the two answers.
    """
    with open_stores() as both:
        if as_json:
            reading = _read(both)
            print(json.dumps(_document(reading)))
        elif once or not sys.stdout.isatty():
            reading = _read(both)
            Console(width=None if sys.stdout.isatty() else 120).print(_shown(reading))
        else:
            reading = _watch(both)
    if isinstance(reading.in_redis, str) and isinstance(reading.in_database, str):
        raise SystemExit(2)


def _read(both: DataStores) -> QueueReading:
    return QueueReading(datetime.now(UTC), both.of_redis(load_queue_statuses), both.of_database(due_rows.due_backlog))


def _watch(both: DataStores) -> QueueReading:
    reading = _read(both)
    with suppress(KeyboardInterrupt), Live(_shown(reading), auto_refresh=False, screen=True) as live:
        while True:
            live.update(_shown(reading), refresh=True)
            time.sleep(EVERY_SECONDS)
            reading = _read(both)
    return reading


def _shown(reading: QueueReading) -> Group:
    """The table, and below it what is away."""
    table = Table(title=f"Queues, {reading.at:%H:%M:%S} UTC", title_justify="left", box=None)
    table.add_column("queue")
    for name in ("waiting", "in flight", "dead", "listeners", "rows due", "oldest"):
        table.add_column(name, justify="right")
    depth_of = {} if isinstance(reading.in_redis, str) else {one.queue: one for one in reading.in_redis}
    for queue in QUEUES:
        depth, rows = depth_of.get(queue), reading.due_of(queue)
        cells = [AWAY] * 4
        if depth is not None:
            cells = [str(depth.waiting), str(depth.in_flight), str(depth.dead), str(depth.listeners)]
        table.add_row(queue, *cells, *((AWAY, AWAY) if rows is None else (str(rows[0]), _age(rows[1]))))
    said: list[Table | Text] = [table]
    if isinstance(reading.in_redis, str):
        said.append(Text(f"Redis is away ({reading.in_redis}): the tick rings in vain, and nothing is lost by that."))
    if isinstance(reading.in_database, str):
        said.append(Text(f"The database is away ({reading.in_database}): nothing can be paid until it is back."))
    for one in depth_of.values():
        if not one.listeners:
            said.append(Text(f"Nobody listens to {one.queue}: `ovnpay workers --queues {one.queue}`."))
    return Group(*said)


def _age(seconds: float) -> str:
    if seconds < 1:
        return "-" if seconds <= 0 else "<1 s"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _document(reading: QueueReading) -> dict[str, Any]:
    depth_of = {} if isinstance(reading.in_redis, str) else {one.queue: one for one in reading.in_redis}
    listed = []
    for queue in QUEUES:
        depth, rows = depth_of.get(queue), reading.due_of(queue)
        listed.append(
            {
                "queue": queue,
                "waiting": depth and depth.waiting,
                "inFlight": depth and depth.in_flight,
                "dead": depth and depth.dead,
                "listeners": depth and depth.listeners,
                "rowsDue": rows and rows[0],
                "oldestSeconds": rows and round(rows[1], 3),
            }
        )
    kinds = None
    if not isinstance(reading.in_database, str):
        kinds = {
            kind: {"queue": QUEUE_OF[kind], "rows": count, "oldestSeconds": round(age_seconds, 3)}
            for kind, (count, age_seconds) in reading.in_database.items()
        }
    return {
        "at": format_rfc3339(reading.at),
        "redis": reading.in_redis if isinstance(reading.in_redis, str) else "ok",
        "database": reading.in_database if isinstance(reading.in_database, str) else "ok",
        "queues": listed,
        "due": kinds,
    }
