"""Coalescing queue: one thread drains ids in batches; other threads add theirs and return.

If each thread opened a transaction for its own few ids, they would wait behind each other for one wallet's lock.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable

import structlog

logger = structlog.get_logger(__name__)

IdGroup = dict[uuid.UUID, float]
"""Ids, each with the monotonic time at which it was added."""


class CoalescingQueue:
    """Distinct ids in the order of their arrival.

    Ids are added under the lock that the draining thread needs to find the queue empty, so none is lost. Ids that wait
    here when the process dies are due rows.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._waiting: IdGroup = {}
        self._is_draining = False

    def process(self, ids: Iterable[uuid.UUID], handle: Callable[[IdGroup], None], group_size: int) -> None:
        """Add ids and, unless another thread does, drain the queue in groups of at most `group_size`.

        A group that fails is left to the tick, and the last one's error is raised at the end.
        """
        if not self._add(ids):
            return
        failure: Exception | None = None
        try:
            while group := self._next_group(group_size):
                try:
                    handle(group)
                except Exception as error:
                    logger.exception("coalescing_queue.group_failed", queue=self._name, count=len(group))
                    failure = error
        except BaseException:  # the process is ending; the next thread that adds ids drains the rest
            with self._lock:
                self._is_draining = False
            raise
        if failure is not None:
            raise failure

    def requeue(self, group: IdGroup) -> None:
        """Add ids again behind all others, with their original times; only from within `handle`."""
        with self._lock:
            self._waiting |= {one: since for one, since in group.items() if one not in self._waiting}

    def _add(self, ids: Iterable[uuid.UUID]) -> bool:
        """Add ids; return whether the caller has to drain the queue."""
        now = time.monotonic()
        with self._lock:
            for one in ids:
                self._waiting.setdefault(one, now)
            if self._is_draining:
                return False
            self._is_draining = True
            return True

    def _next_group(self, size: int) -> IdGroup:
        """Remove the first ids; none ends the draining."""
        with self._lock:
            first = list(itertools.islice(self._waiting, size))
            self._is_draining = bool(first)
            return {one: self._waiting.pop(one) for one in first}
