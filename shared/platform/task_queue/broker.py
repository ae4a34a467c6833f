"""The broker: Dramatiq on Redis without retries, delays or results, because every wait is a due row in Postgres."""

from collections.abc import Sequence
from typing import Final

import dramatiq
import redis
from dramatiq import MessageProxy
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware, ShutdownNotifications
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.platform.settings import Settings
from shared.platform.task_queue.dead_letters import DeadLetters, move_to_dead_letters
from shared.platform.task_queue.dramatiq_internals import ConsumerOptions, QueueKeys, TaskConsumer
from shared.platform.task_queue.tasks import NAMESPACE, POLL_INTERVAL_MS, WAKE_UP_QUEUES

WAKE_UP_TTL_SECONDS: Final = 1
WAKE_UPS_MAX: Final = 16
"""Lifetime and number of wake-ups that no worker has consumed yet."""


class TaskBroker(RedisBroker):
    """Dramatiq's Redis broker without delay queues."""

    is_draining = False
    """Whether this process fetches no more messages."""

    def __init__(self, settings: Settings, middleware: Sequence[Middleware], *, timeout_seconds: float) -> None:
        # An explicit client, because the `url=` form ignores other options, and an explicit list of middleware.
        super().__init__(  # type: ignore[no-untyped-call]
            client=redis_client(settings, timeout_seconds=timeout_seconds),
            middleware=list(middleware),
            namespace=NAMESPACE,
            heartbeat_timeout=15_000,
            dead_message_ttl=3 * 86_400_000,
        )

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Consume a queue; `timeout` is ignored, because each queue has its own poll interval."""
        options = ConsumerOptions(
            POLL_INTERVAL_MS[queue_name], queue_name in WAKE_UP_QUEUES, lambda: self.is_draining, self._keep_failed
        )
        return TaskConsumer(self, queue_name, prefetch, options)

    def wake(self, queue_name: str) -> None:
        """Wake a worker that blocks on the queue, or that starts to within `WAKE_UP_TTL_SECONDS`."""
        key = QueueKeys(queue_name).wake_ups
        with self.client.pipeline() as pipe:
            pipe.lpush(key, 1)
            pipe.ltrim(key, 0, WAKE_UPS_MAX - 1)
            pipe.expire(key, WAKE_UP_TTL_SECONDS)
            pipe.execute()

    def declare_queue(self, queue_name: str) -> None:
        """Declare the queue without a delay queue, which no message would ever enter."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def _keep_failed(self, message: MessageProxy) -> None:
        move_to_dead_letters(self.client, QueueKeys(message.queue_name), self.broker_id, message)


def redis_client(settings: Settings, *, timeout_seconds: float) -> "redis.Redis":
    """Create a client that never repeats a command by itself, because a repeated enqueue would send a message twice."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        client_name="ovnpay",
    )


def make_broker(settings: Settings, *middleware: Middleware) -> TaskBroker:
    """Create the workers' broker and make it Dramatiq's global one."""
    always = (CurrentMessage(), ShutdownNotifications(), DeadLetters())
    broker = TaskBroker(settings, [*always, *middleware], timeout_seconds=5.0)
    dramatiq.set_broker(broker)
    return broker
