"""The queues in Redis: what waits, what is being worked on, what has failed, and how many listen.

The names of the keys are those of Dramatiq's Redis broker.
"""

import time
from typing import NamedTuple

import redis

from shared.platform.task_queue import LISTENING_SECONDS, NAMESPACE, QUEUES, listeners_key


class QueueStatus(NamedTuple):
    """How a queue stands."""

    queue: str
    waiting: int
    """Messages that no worker has taken yet."""
    in_flight: int
    """Messages that a worker has taken and not finished."""
    dead: int
    """Dead letters."""
    listeners: int
    """Worker processes that have listened to it within 15 seconds."""


def load_queue_statuses(client: "redis.Redis") -> list[QueueStatus]:
    """How every queue stands, in one round trip.

    Raises:
        redis.RedisError: Redis does not say.

    """
    with client.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            key = f"{NAMESPACE}:{queue}"
            pipe.llen(key)
            pipe.hlen(f"{key}.msgs")
            pipe.zcard(f"{key}.XQ")
            pipe.zcount(listeners_key(queue), time.time() - LISTENING_SECONDS, "+inf")
        answers = iter(int(one) for one in pipe.execute())
    found = []
    for queue in QUEUES:
        waiting, kept, dead, listeners = next(answers), next(answers), next(answers), next(answers)
        # The first two were counted one after the other.
        found.append(QueueStatus(queue, waiting, max(kept - waiting, 0), dead, listeners))
    return found
