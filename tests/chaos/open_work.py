"""Open work, read directly from the database and the simulator."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from tests.support.simulator import Simulator
from tests.support.stack import Stack

_OPEN: Final = {
    "payouts": "SELECT count(*) FROM payouts WHERE status IN ('validated', 'queued', 'processing')",
    "batches": "SELECT count(*) FROM batches WHERE status IN ('queued', 'processing')",
    "submissions": "SELECT count(*) FROM submissions WHERE status IN ('prepared', 'unknown')",
    "webhooks to apply": "SELECT count(*) FROM provider_events WHERE status IN ('received', 'orphan')",
    "top-ups": "SELECT count(*) FROM topups WHERE next_action_at IS NOT NULL",
}
_PAUSE_SECONDS: Final = 0.25
_ENDS: Final = frozenset({"completed", "failed", "returned", "canceled"})


def load_open_work(stack: Stack) -> dict[str, int]:
    """Count what has not ended, by kind. Raises OSError or psycopg.Error if one does not answer."""
    found: dict[str, int] = {}
    with psycopg.connect(stack["database_url"], connect_timeout=5) as connection:
        for name, query in _OPEN.items():
            row = connection.execute(query).fetchone()
            assert row is not None
            found[name] = row[0]
    stats = Simulator(stack["paystream"]).stats()
    found["webhooks to send"] = stats["webhooks"]["pending"]
    found["payments"] = sum(n for status, n in stats["payments"]["test"].items() if status not in _ENDS)
    return {name: count for name, count in found.items() if count}


async def wait_until_ended(
    stack: Stack, within_seconds: float, report: Callable[[str], None]
) -> tuple[float, dict[str, Any]]:
    """Wait until all has ended; return the seconds that took, and what is still open."""
    started = time.monotonic()
    while True:
        try:
            left = await asyncio.to_thread(load_open_work, stack)
        except (OSError, psycopg.Error, KeyError, ValueError) as error:
            left = {type(error).__name__: 1}
        seconds = time.monotonic() - started
        if not left or seconds > within_seconds:
            return seconds, left
        report("open: " + ", ".join(f"{count} {name}" for name, count in left.items()))
        await asyncio.sleep(_PAUSE_SECONDS)
