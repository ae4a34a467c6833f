"""A worker process: broker, actors and context. `python -m workers` runs it under Dramatiq."""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import dramatiq
import structlog
from dramatiq.common import iter_queue
from dramatiq.errors import ConnectionError as BrokerConnectionError
from dramatiq.middleware import Middleware
from redis.exceptions import RedisError

from shared.controls.reconciliation import database_identity
from shared.operations import startup
from shared.platform import logs, process_memory, tracing
from shared.platform.failpoints import failpoint
from shared.platform.registered_consumers import Heartbeat, queue_role
from shared.platform.settings import Settings, load_settings
from shared.platform.task_queue import Task, TaskBroker, make_broker
from workers.context import Context, current_context, open_context
from workers.reserved_threads import ReservedThreads

logger = structlog.get_logger(__name__)


class MessageLogContext(Middleware):
    """Binds a message's id and actor to every line that is logged while it is worked on."""

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Begins."""
        structlog.contextvars.bind_contextvars(message_id=message.message_id, actor=message.actor_name)

    def after_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy, **outcome: Any) -> None:
        """Ends."""
        structlog.contextvars.unbind_contextvars("message_id", "actor")


class ConsumerRegistration(Middleware):
    """Says which queues this process hears, from its first look at them to its last."""

    _beat: Heartbeat | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        """Begins."""
        self._beat = Heartbeat(
            current_context().settings, lambda: [queue_role(queue) for queue in tuple(worker.consumers)]
        )

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        """Ends."""
        if self._beat is not None:
            self._beat.stop()


class GracefulShutdown(Middleware):
    """At the end: takes nothing more, finishes what is under way, and hands back the rest, so that another process has
    it at once. Dramatiq itself would go on fetching messages, only to return them when the last thread has ended.
    """

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Hands back what was fetched and waits, and gives the calls of customers' webhooks some seconds to end,
        beside the actors, for which dramatiq waits by itself.
        """
        assert isinstance(broker, TaskBroker)
        broker.is_draining = True
        waiting: defaultdict[str, list[dramatiq.MessageProxy]] = defaultdict(list)
        for item in iter_queue(worker.work_queue):  # type: ignore[no-untyped-call]
            waiting[item.message.queue_name].append(item.message)
        for queue_name, messages in waiting.items():
            try:
                worker.consumers[queue_name].requeue_messages(messages)
            except (BrokerConnectionError, RedisError) as error:  # Redis is away: the tick rings for them again
                logger.warning("workers.not_handed_back", queue=queue_name, messages=len(messages), why=repr(error))
        self._calls = threading.Thread(target=current_context().stop_delivery, name="ending")
        self._calls.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Rings the bells that the last actors have rung, and closes the connections."""
        self._calls.join()
        current_context().close()


def setup_worker(settings: Settings | None = None) -> TaskBroker:
    """Prepares this process: called by Dramatiq in each child. Waits for the database."""
    from workers.metrics import MessageMetrics
    from workers.tracing import MessageSpans

    settings = settings or load_settings()
    logs.configure_logging(settings, "workers")
    tracing.start_tracing("workers")
    broker = make_broker(
        settings,
        MessageSpans(),
        MessageLogContext(),
        MessageMetrics(),
        ReservedThreads(),
        ConsumerRegistration(),
        GracefulShutdown(),
    )
    context = open_context(settings)
    startup.prepare_database(context.engine, settings)
    database_identity.create_installation_row(context.engine)
    register_actors()
    process_memory.reduce_garbage_collection()
    return broker


def register_actors() -> None:
    """Declares every actor with the current broker."""
    from workers import batches, customer_events, drivers, payouts, provider_events, submissions, topups

    for module in (batches, payouts, submissions, provider_events, drivers, topups, customer_events):
        for task, work in module.ACTORS.items():
            declare_actor(task, work)


def declare_actor(task: Task, work: Callable[[Context, list[uuid.UUID]], None]) -> None:
    """Makes an actor of a function that takes ids: its message's texts become ids again."""

    def perform(texts: list[str]) -> None:
        work(current_context(), [uuid.UUID(hex=text) for text in texts])
        failpoint("message.before_ack")

    perform.__doc__ = work.__doc__
    dramatiq.actor(actor_name=task.actor, queue_name=task.queue, priority=task.priority)(perform)
