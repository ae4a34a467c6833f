"""Dramatiq's queues in Redis: what waits, what is being worked on, what was given up."""

from collections.abc import Iterator

import redis
from prometheus_client import Metric

from shared.broker import NAMESPACE, QUEUES
from shared.exporter.gauges import gauges


def read(client: "redis.Redis") -> Iterator[Metric]:
    """In one round trip. The names of the keys are those of Dramatiq's Redis broker."""
    with client.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            pipe.llen(f"{NAMESPACE}:{queue}")
            pipe.hlen(f"{NAMESPACE}:{queue}.msgs")
            pipe.zcard(f"{NAMESPACE}:{queue}.XQ")
        lengths = [int(one) for one in pipe.execute()]
    waiting = dict(zip(QUEUES, lengths[0::3], strict=True))
    kept = dict(zip(QUEUES, lengths[1::3], strict=True))
    dead = dict(zip(QUEUES, lengths[2::3], strict=True))
    # The two were counted one after the other.
    in_flight = {queue: max(kept[queue] - waiting[queue], 0) for queue in QUEUES}
    yield gauges("ovnpay_queue_depth", "Messages that wait for a worker, by queue.", ["queue"], waiting)
    yield gauges("ovnpay_queue_in_flight", "Messages that a worker has taken, by queue.", ["queue"], in_flight)
    text = "Messages whose actor failed, kept for three days, by queue; the tick has rung again for their rows."
    yield gauges("ovnpay_queue_dead", text, ["queue"], dead)
