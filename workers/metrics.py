"""Metrics of the workers: one Dramatiq middleware, and the exposition that adds up all processes."""

import os
import threading
import time
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, multiprocess

from shared.exposition import Exposition
from shared.settings import load

MESSAGES = Counter("ovnpay_messages_total", "Messages handled by the workers.", ["actor", "outcome"])
MESSAGE_SECONDS = Histogram("ovnpay_message_duration_seconds", "How long actors took.", ["actor"])


class MessageMetrics(Middleware):
    """Counts messages by actor and outcome. A failed message is not retried: the tick rings again for its rows."""

    def __init__(self) -> None:
        self._started = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Starts the watch."""
        self._started.at = time.monotonic()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Stops it and counts."""
        MESSAGE_SECONDS.labels(message.actor_name).observe(time.monotonic() - self._started.at)
        MESSAGES.labels(message.actor_name, "failed" if exception else "done").inc()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Tells the exposition that this process's gauges are over; its counters stay."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def serve() -> None:
    """The exposition process: started by Dramatiq once every worker process has booted."""

    def registry() -> CollectorRegistry:
        made = CollectorRegistry()
        multiprocess.MultiProcessCollector(made)  # type: ignore[no-untyped-call]
        return made

    settings = load()
    Exposition(settings.workers_metrics_port, registry, lambda: None, host=settings.metrics_host).run()
