"""Timer: one heap for all scheduled changes, instead of a task for each."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from deploy.simulator.time_and_ids import now_seconds

WAIT_SECONDS_MIN = 0.01
CALLBACKS_PER_WAKE_MAX = 100


class Timer:
    """Runs due callbacks in groups: those due within one wait share one commit."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")

    def at(self, due_at: float, callback: Callable[[Any], None], argument: Any) -> None:
        heapq.heappush(self._heap, (due_at, next(self._order), callback, argument))
        self._arm(due_at)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._heap.clear()

    def _arm(self, due_at: float) -> None:
        wakes_at = max(due_at, now_seconds() + WAIT_SECONDS_MIN)
        if wakes_at >= self._wakes_at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._wakes_at = wakes_at
        self._handle = asyncio.get_running_loop().call_later(wakes_at - now_seconds(), self._run_due)

    def _run_due(self) -> None:
        self._handle, self._wakes_at = None, float("inf")
        now = now_seconds()
        try:
            for _ in range(CALLBACKS_PER_WAKE_MAX):
                if not self._heap or self._heap[0][0] > now:
                    break
                _, _, callback, argument = heapq.heappop(self._heap)
                callback(argument)
        finally:
            if self._heap:
                self._arm(self._heap[0][0])
