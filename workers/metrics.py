"""Metrics of the workers: a Dramatiq middleware, and the metrics server that adds up all processes."""

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
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue.dramatiq_internals import consumed_queues

MESSAGES = Counter("ovnpay_messages_total", "Messages handled by the workers.", ["actor", "outcome"])
CONSUMERS = Gauge(
    "ovnpay_queue_workers", "Worker processes that consume a queue.", ["queue"], multiprocess_mode="livesum"
)
MESSAGE_SECONDS = Histogram("ovnpay_message_duration_seconds", "Duration of actors.", ["actor"])


class MessageMetrics(Middleware):
    """Counts messages by actor and outcome. A failed message is not retried; the tick enqueues its rows again."""

    def __init__(self) -> None:
        self._started = threading.local()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        for queue in consumed_queues(worker):
            CONSUMERS.labels(queue).set(1)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._started.at = time.monotonic()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        MESSAGE_SECONDS.labels(message.actor_name).observe(time.monotonic() - self._started.at)
        MESSAGES.labels(message.actor_name, "failed" if exception else "done").inc()


def serve_metrics() -> None:
    """Run the metrics server; Dramatiq starts this process once every worker process has booted."""
    folder, settings = Path(os.environ[METRICS_FOLDER_VARIABLE]), load_settings()
    port, host = settings.workers_metrics_port, settings.metrics_host
    MetricsServer(port, lambda: multiprocess_registry(folder), lambda: None, host=host).run()
