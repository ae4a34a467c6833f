"""Traces in a worker: each message is worked on within a span of the traces in which its doorbell was rung."""

import threading
from contextlib import ExitStack
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware

from shared.platform import tracing


class MessageSpans(Middleware):
    """A span for each message; what is rung and called meanwhile goes on with it. Nothing where nobody traces."""

    def __init__(self) -> None:
        self._open = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Opens it."""
        if not tracing.is_tracing():
            return
        parents = message.options.get(tracing.TRACEPARENTS_OPTION, ())
        facts = {"messaging.message.id": message.message_id, "messaging.destination.name": message.queue_name}
        self._open.stack = ExitStack()
        span = tracing.span(message.actor_name, tracing.SpanKind.CONSUMER, parents, ids=len(message.args[0]), **facts)
        self._open.span = self._open.stack.enter_context(span)

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Closes it."""
        stack, self._open.stack = getattr(self._open, "stack", None), None
        if stack is not None:
            if exception is not None:
                tracing.mark_failed(self._open.span, type(exception).__name__)
            stack.close()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Sends what is not sent yet: a worker process ends without its exit handlers."""
        tracing.stop_tracing()
