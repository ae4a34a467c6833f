"""An empty Dramatiq actor on the default broker, for `dramatiq`."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

NAMESPACE, QUEUE = "bench", "empty"

broker = RedisBroker(url=os.environ["OVNPAY_BENCH_REDIS_URL"], namespace=NAMESPACE)  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def nothing() -> None:
    """Empty."""
