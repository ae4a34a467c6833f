"""Traces in a worker: each message is processed within a span that continues the traces of its requests."""

import threading
from contextlib import ExitStack
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware

from shared.platform import tracing


class MessageSpans(Middleware):
    """Opens a span for each message; messages and calls made meanwhile continue it. Does nothing without tracing."""

    def __init__(self) -> None:
        self._open = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if not tracing.is_tracing():
            return
        parents = message.options.get(tracing.TRACEPARENTS_OPTION, ())
        attributes = {"messaging.message.id": message.message_id, "messaging.destination.name": message.queue_name}
        self._open.stack = ExitStack()
        span = tracing.span(
            message.actor_name, tracing.SpanKind.CONSUMER, parents, ids=len(message.args[0]), **attributes
        )
        self._open.span = self._open.stack.enter_context(span)

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        stack, self._open.stack = getattr(self._open, "stack", None), None
        if stack is not None:
            if exception is not None:
                tracing.mark_failed(self._open.span, type(exception).__name__)
            stack.close()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        tracing.stop_tracing()  # a worker process ends without exit handlers
