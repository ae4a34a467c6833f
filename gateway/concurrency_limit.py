"""Limit how many requests use a scarce resource at once, in all and per caller.

Each gateway process counts for itself: its memory and its password thread are its own.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from gateway.http.envelope import ApiError


class ConcurrencyLimit:
    """A number of slots, of which each caller gets a smaller number at most."""

    def __init__(self, resource: str, slots: int, slots_per_caller: int) -> None:
        """`resource` is a plural for the error message."""
        self._resource = resource
        self._slots, self._slots_per_caller = slots, slots_per_caller
        self._used: Counter[Hashable] = Counter()

    @contextmanager
    def slot(self, caller: Hashable) -> Iterator[None]:
        """Occupy a slot.

        Raises:
            ApiError: 503; none is free.

        """
        if self._used.total() >= self._slots or self._used[caller] >= self._slots_per_caller:
            message = f"Too many {self._resource} at once; try again"
            raise ApiError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": "1"})
        self._used[caller] += 1
        try:
            yield
        finally:
            self._used[caller] -= 1
            if not self._used[caller]:
                del self._used[caller]
