"""Dramatiq's queues in Redis: what waits, what is being worked on, what was given up; and who is there to hear."""

import time
from collections.abc import Iterator

import redis
from prometheus_client import Metric

from shared.broker import HEARTBEAT_SECONDS, NAMESPACE, QUEUES
from shared.exporter.gauges import gauge, gauges


def read(client: "redis.Redis") -> Iterator[Metric]:
    """In one round trip. The names of the keys are those of Dramatiq's Redis broker."""
    now_ms = int(time.time() * 1000)
    with client.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            pipe.llen(f"{NAMESPACE}:{queue}")
            pipe.hlen(f"{NAMESPACE}:{queue}.msgs")
            pipe.zcard(f"{NAMESPACE}:{queue}.XQ")
        pipe.zcount(f"{NAMESPACE}:__heartbeats__", now_ms - int(HEARTBEAT_SECONDS * 1000), "+inf")
        *lengths, workers = (int(one) for one in pipe.execute())
    waiting = dict(zip(QUEUES, lengths[0::3], strict=True))
    kept = dict(zip(QUEUES, lengths[1::3], strict=True))
    dead = dict(zip(QUEUES, lengths[2::3], strict=True))
    # The two were counted one after the other.
    in_flight = {queue: max(kept[queue] - waiting[queue], 0) for queue in QUEUES}
    yield gauges("ovnpay_queue_depth", "Messages that wait for a worker, by queue.", ["queue"], waiting)
    yield gauges("ovnpay_queue_in_flight", "Messages that a worker has taken, by queue.", ["queue"], in_flight)
    text = "Messages whose actor failed, kept for three days, by queue; the tick has rung again for their rows."
    yield gauges("ovnpay_queue_dead", text, ["queue"], dead)
    yield gauge("ovnpay_broker_workers", "Worker processes that were heard of within fifteen seconds.", workers)
