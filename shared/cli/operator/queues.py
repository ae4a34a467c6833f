"""`ovnpay queues`: messages in Redis and due rows of the database."""

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
UNKNOWN = "?"
QUEUE_OF = {kind.name: kind.task.queue for kind in (*due_rows.DUE_KINDS, due_rows.WEBHOOK_KIND)}


class QueueReading(NamedTuple):
    """State of both stores; the error text of an unreachable one."""

    at: datetime
    in_redis: list[QueueStatus] | str
    in_database: dict[str, tuple[int, float]] | str
    """For each kind of due rows: their number, and the age of the oldest one in seconds."""

    def due_rows_of_queue(self, queue: str) -> tuple[int, float] | None:
        """Return number and oldest age in seconds; None if unknown."""
        if isinstance(self.in_database, str):
            return None
        backlogs = [backlog for kind, backlog in self.in_database.items() if QUEUE_OF[kind] == queue]
        return sum(count for count, _ in backlogs), max(age_seconds for _, age_seconds in backlogs)

    @property
    def depth_by_queue(self) -> dict[str, QueueStatus]:
        """Messages by queue; empty if Redis can't be reached."""
        return {} if isinstance(self.in_redis, str) else {depth.queue: depth for depth in self.in_redis}


def print_queues(*, once: bool, as_json: bool) -> None:
    """Refresh every second, or print once; exit with 2 if neither store responds."""
    with open_stores() as stores:
        if as_json:
            reading = _read(stores)
            print(json.dumps(_document(reading)))
        elif once or not sys.stdout.isatty():
            reading = _read(stores)
            Console(width=None if sys.stdout.isatty() else 120).print(_render(reading))
        else:
            reading = _watch(stores)
    if isinstance(reading.in_redis, str) and isinstance(reading.in_database, str):
        raise SystemExit(2)


def _read(stores: DataStores) -> QueueReading:
    return QueueReading(
        datetime.now(UTC), stores.query_redis(load_queue_statuses), stores.query_database(due_rows.due_backlog)
    )


def _watch(stores: DataStores) -> QueueReading:
    reading = _read(stores)
    with suppress(KeyboardInterrupt), Live(_render(reading), auto_refresh=False, screen=True) as live:
        while True:
            live.update(_render(reading), refresh=True)
            time.sleep(EVERY_SECONDS)
            reading = _read(stores)
    return reading


def _render(reading: QueueReading) -> Group:
    """Return the table and the problems below it."""
    table = Table(title=f"Queues, {reading.at:%H:%M:%S} UTC", title_justify="left", box=None)
    table.add_column("queue")
    for name in ("waiting", "in flight", "dead", "consumers", "due rows", "oldest"):
        table.add_column(name, justify="right")
    depth_by_queue = reading.depth_by_queue
    for queue in QUEUES:
        depth, rows = depth_by_queue.get(queue), reading.due_rows_of_queue(queue)
        cells = [UNKNOWN] * 4
        if depth is not None:
            cells = [str(depth.waiting), str(depth.in_flight), str(depth.dead), str(depth.listeners)]
        table.add_row(queue, *cells, *((UNKNOWN, UNKNOWN) if rows is None else (str(rows[0]), _format_age(rows[1]))))
    parts: list[Table | Text] = [table]
    if isinstance(reading.in_redis, str):
        parts.append(
            Text(
                f"Redis is unreachable ({reading.in_redis}): messages can't be enqueued. Nothing is lost: due rows are "
                "enqueued when it is back."
            )
        )
    if isinstance(reading.in_database, str):
        parts.append(
            Text(f"The database is unreachable ({reading.in_database}): nothing can be paid until it is back.")
        )
    for depth in depth_by_queue.values():
        if not depth.listeners:
            parts.append(Text(f"No worker consumes {depth.queue}: start `ovnpay workers --queues {depth.queue}`."))
    return Group(*parts)


def _format_age(seconds: float) -> str:
    if seconds < 1:
        return "-" if seconds <= 0 else "<1 s"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _document(reading: QueueReading) -> dict[str, Any]:
    depth_by_queue = reading.depth_by_queue
    queues = []
    for queue in QUEUES:
        depth, rows = depth_by_queue.get(queue), reading.due_rows_of_queue(queue)
        queues.append(
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
        "queues": queues,
        "due": kinds,
    }
