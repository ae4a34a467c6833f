"""Places: how many may be at something scarce at once, in all and for each who asks; whoever finds none comes back.

Counted by each gateway for itself, for what is scarce is its own: its memory, its thread for passwords.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from gateway.http.envelope import ApiError


class ConcurrencyLimit:
    """So many places, of which nobody gets more than his share."""

    def __init__(self, what: str, most: int, most_each: int) -> None:
        """`what` there are too many of, as the answer says it."""
        self._what = what
        self._most, self._most_each = most, most_each
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def take(self, who: Hashable) -> Iterator[None]:
        """Holds a place.

        Raises:
            ApiError: none is free.

        """
        if self._taken.total() >= self._most or self._taken[who] >= self._most_each:
            message = f"Too many {self._what} at once; try again"
            raise ApiError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": "1"})
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
