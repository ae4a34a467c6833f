"""Dramatiq's queues in Redis: what waits, what is being worked on, what has failed."""

from collections.abc import Iterator

import redis
from prometheus_client import Metric

from shared.platform.queue_statuses import load_queue_statuses
from shared.reporting.exporter.gauges import labeled_gauge


def collect_queues(client: "redis.Redis") -> Iterator[Metric]:
    """In one round trip."""
    found = load_queue_statuses(client)
    waiting = {one.queue: one.waiting for one in found}
    in_flight = {one.queue: one.in_flight for one in found}
    dead = {one.queue: one.dead for one in found}
    yield labeled_gauge("ovnpay_queue_depth", "Messages that wait for a worker, by queue.", ["queue"], waiting)
    yield labeled_gauge("ovnpay_queue_in_flight", "Messages that a worker has taken, by queue.", ["queue"], in_flight)
    text = "Messages whose actor failed, kept for three days, by queue; the tick has rung again for their rows."
    yield labeled_gauge("ovnpay_queue_dead", text, ["queue"], dead)
