"""Wait for a condition. The only module of the tests that sleeps while it waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T | None], what: str, seconds: float = 20, pause_seconds: float = 0.1) -> T:
    """Call `probe` until it returns something truthy, and return that; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause_seconds)
