"""How often may one API key call? 1,000 requests an hour, 5 funding operations a minute, as published."""

from collections import deque

from deploy.simulator.errors import too_many
from deploy.simulator.time_and_ids import now_seconds


class RequestLimit:
    """At most `most` calls of each key in any window of `window_seconds`; 0 means unlimited."""

    def __init__(self, most: int, window_seconds: float, message: str) -> None:
        self._most = most
        self._window_seconds = window_seconds
        self._message = message
        self._calls: dict[str, deque[float]] = {}

    def count_call(self, api_key: str) -> None:
        """Counts this call, or raises a 429 that says when the next one may come. A refused call does not count."""
        if self._most == 0:
            return
        now = now_seconds()
        calls = self._calls.setdefault(api_key, deque(maxlen=self._most))
        if len(calls) == self._most and now - calls[0] < self._window_seconds:
            wait_seconds = int(self._window_seconds - (now - calls[0])) + 1
            raise too_many(self._message, wait_seconds)
        calls.append(now)
