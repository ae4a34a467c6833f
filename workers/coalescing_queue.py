"""A line: ids of which one thread of a process works on a group at a time, while the others leave word and return.

So groups grow by themselves: what comes while one is under way goes together in the next. Where each thread began a
transaction for the few that it was told of, they would wait for one wallet's lock behind each other.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable

import structlog

logger = structlog.get_logger(__name__)

IdGroup = dict[uuid.UUID, float]
"""Ids, each with the monotonic time at which word of it came."""


class CoalescingQueue:
    """Ids that wait, in the order in which they came, each once.

    No word is lost: who finds the line served has left his ids before the one who serves it can find it empty. What
    was acknowledged and still waits here when the process dies is a due row, for which the tick rings.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: IdGroup = {}
        self._is_served = False

    def work(self, ids: Iterable[uuid.UUID], perform: Callable[[IdGroup], None], most: int) -> None:
        """Leaves word of the ids and, where nobody serves the line, serves it until nobody waits: at most `most` at a
        time. A group that fails does not keep the others; its rows are left to the tick.

        Raises:
            Exception: what the last group that failed has failed by.

        """
        if not self._join(ids):
            return
        failure: Exception | None = None
        try:
            while group := self._next(most):
                try:
                    perform(group)
                except Exception as error:
                    logger.exception("line.group_failed", line=self._name, count=len(group))
                    failure = error
        except BaseException:  # whoever comes next serves those who wait
            with self._lock:
                self._is_served = False
            raise
        if failure is not None:
            raise failure

    def put_back(self, group: IdGroup) -> None:
        """Has these wait once more, behind all others. For the one who serves the line."""
        with self._lock:
            self._waiting |= {one: since for one, since in group.items() if one not in self._waiting}

    def _join(self, ids: Iterable[uuid.UUID]) -> bool:
        """Whether the caller has to serve the line."""
        now = time.monotonic()
        with self._lock:
            for one in ids:
                self._waiting.setdefault(one, now)
            if self._is_served:
                return False
            self._is_served = True
            return True

    def _next(self, most: int) -> IdGroup:
        """The first in the line. Empty: from this moment on nobody serves it."""
        with self._lock:
            first = list(itertools.islice(self._waiting, most))
            self._is_served = bool(first)
            return {one: self._waiting.pop(one) for one in first}
