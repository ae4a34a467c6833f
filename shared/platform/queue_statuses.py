"""The status of each queue in Redis: messages waiting, in progress and failed, and the processes that consume it."""

from typing import NamedTuple

import redis

from shared.platform.registered_consumers import count_registered, queue_role
from shared.platform.task_queue import QUEUES
from shared.platform.task_queue.dramatiq_internals import QueueKeys


class QueueStatus(NamedTuple):
    """The counts of one queue."""

    queue: str
    waiting: int
    """Messages that no worker has fetched yet."""
    in_flight: int
    """Messages that a worker has fetched and not finished."""
    dead: int
    """Dead letters."""
    listeners: int
    """Worker processes that are registered as consumers of the queue."""


def load_queue_statuses(client: "redis.Redis") -> list[QueueStatus]:
    """Load the status of every queue.

    Raises:
        redis.RedisError: Redis does not answer.

    """
    registered = count_registered(client)
    with client.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            keys = QueueKeys(queue)
            pipe.llen(keys.queue)
            pipe.hlen(keys.messages)
            pipe.zcard(keys.dead)
        counts = iter(int(one) for one in pipe.execute())
    statuses = []
    for queue in QUEUES:
        waiting, stored, dead = next(counts), next(counts), next(counts)
        # Not counted atomically: a message may have been acknowledged between the first two counts.
        in_flight = max(stored - waiting, 0)
        statuses.append(QueueStatus(queue, waiting, in_flight, dead, registered[queue_role(queue)]))
    return statuses
