"""Metrics of the workers: one Dramatiq middleware, and the exposition that adds up all processes."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from dramatiq import Broker, MessageProxy, Worker
from dramatiq.middleware import Middleware
from prometheus_client import Counter, Gauge, Histogram

from shared.platform.metrics_server import MetricsServer, multiprocess_registry
from shared.platform.process_metrics import METRICS_FOLDER_VARIABLE
from shared.platform.settings import load_settings

MESSAGES = Counter("ovnpay_messages_total", "Messages handled by the workers.", ["actor", "outcome"])
LISTENERS = Gauge(
    "ovnpay_queue_workers", "Worker processes that listen to a queue.", ["queue"], multiprocess_mode="livesum"
)
MESSAGE_SECONDS = Histogram("ovnpay_message_duration_seconds", "How long actors took.", ["actor"])


class MessageMetrics(Middleware):
    """Counts messages by actor and outcome. A failed message is not retried: the tick rings again for its rows."""

    def __init__(self) -> None:
        self._started = threading.local()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Says which queues this process listens to."""
        for queue in worker.consumer_whitelist or broker.get_declared_queues():
            LISTENERS.labels(queue).set(1)

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


def serve_metrics() -> None:
    """The exposition process: started by Dramatiq once every worker process has booted."""
    folder, settings = Path(os.environ[METRICS_FOLDER_VARIABLE]), load_settings()
    port, host = settings.workers_metrics_port, settings.metrics_host
    MetricsServer(port, lambda: multiprocess_registry(folder), lambda: None, host=host).run()
