"""A worker process: broker, middleware, actors and context. `python -m workers` runs it under Dramatiq."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import Middleware

from shared.controls.reconciliation import database_identity
from shared.operations import startup
from shared.platform import logs, process_memory, tracing
from shared.platform.failpoints import failpoint
from shared.platform.registered_consumers import Heartbeat, queue_role
from shared.platform.settings import Settings
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue import Task, TaskBroker, make_broker
from shared.platform.task_queue.dramatiq_internals import consumed_queues, requeue_waiting
from workers.context import Context, current_context, open_context
from workers.reserved_threads import ReservedThreads

logger = structlog.get_logger(__name__)


class MessageLogContext(Middleware):
    """Binds a message's id and actor to every line that is logged while it is processed."""

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        structlog.contextvars.bind_contextvars(message_id=message.message_id, actor=message.actor_name)

    def after_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy, **outcome: Any) -> None:
        structlog.contextvars.unbind_contextvars("message_id", "actor")


class ConsumerRegistration(Middleware):
    """Registers the queues that this process consumes, from its start until its shutdown begins."""

    _heartbeat: Heartbeat | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        roles = [queue_role(queue) for queue in sorted(consumed_queues(worker))]
        self._heartbeat = Heartbeat(current_context().settings, lambda: roles)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()


class GracefulShutdown(Middleware):
    """At shutdown fetches nothing more, finishes what is in progress, and hands back the rest for another process.

    Dramatiq itself would go on fetching messages, and return them only when its last thread has ended.
    """

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Hand back waiting messages, and finish webhook calls while Dramatiq waits for the actors."""
        assert isinstance(broker, TaskBroker)
        broker.is_draining = True
        for queue, count, error in requeue_waiting(worker):  # Redis is down: the tick enqueues their rows again
            logger.warning("workers.not_handed_back", queue=queue, messages=count, why=repr(error))
        self._delivery_shutdown = threading.Thread(target=current_context().stop_delivery, name="delivery-shutdown")
        self._delivery_shutdown.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Send the messages that the last actors have enqueued, and close the connections."""
        self._delivery_shutdown.join()
        current_context().close()


def setup_worker(settings: Settings | None = None) -> TaskBroker:
    """Prepare a worker process: Dramatiq calls it in each child."""
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
    """Declare every actor with the current broker."""
    from workers import batches, customer_events, drivers, payouts, provider_events, submissions, topups

    for module in (batches, payouts, submissions, provider_events, drivers, topups, customer_events):
        for task, work in module.ACTORS.items():
            declare_actor(task, work)


def declare_actor(task: Task, work: Callable[[Context, list[uuid.UUID]], None]) -> None:
    """Declare a function as the actor of a task; the texts of a message become ids again."""

    def perform(texts: list[str]) -> None:
        work(current_context(), [uuid.UUID(hex=text) for text in texts])
        failpoint("message.before_ack")

    perform.__doc__ = work.__doc__
    dramatiq.actor(actor_name=task.actor, queue_name=task.queue, priority=task.priority)(perform)
