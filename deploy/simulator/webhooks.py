"""Webhook queue: durable, at least once, the events of each payment in order.

An event is stored in the transaction of its change, sent only after the commit, and deleted when the receiver responds
with 2xx. After a crash the next process sends what is stored.
"""

import asyncio
from collections import Counter, deque
from typing import Any, NamedTuple

import msgspec

from deploy.simulator.delivery import Delivery
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import Mode, WebhookEvent
from deploy.simulator.options import Options
from deploy.simulator.time_and_ids import format_time, new_id, now_seconds
from deploy.simulator.timer import Timer

FIRST_RETRY_SECONDS = 0.5
RETRY_SECONDS_MAX = 60.0
GIVE_UP_SECONDS = 86_400.0
COUNTERS_NOTE = "webhooks"


class DeliveryOptions(NamedTuple):
    """How an event is sent."""

    delay_seconds: float = 0.0
    copies: int = 1
    forged: bool = False
    """Whether its signature is invalid."""
    at: str | None = None
    event_id: str | None = None
    always: bool = False
    """Whether to send it even if its type is not enabled."""


DEFAULT_OPTIONS = DeliveryOptions()


class Webhooks:
    """Queues events and runs `webhook_concurrency` deliveries at a time."""

    def __init__(self, options: Options, store: DocumentStore, timer: Timer) -> None:
        self._options = options
        self._store = store
        self._timer = timer
        self._delivery = Delivery(options)
        self._enabled_types = frozenset(options.webhook_events)
        self._uncommitted: list[WebhookEvent] = []
        """Queued since the last commit; must not be sent before it."""
        self._queues: dict[str, deque[WebhookEvent]] = {}
        self._attempts: Counter[str] = Counter()
        self._ready: asyncio.Queue[WebhookEvent] = asyncio.Queue()
        self._running = asyncio.Event()
        self._senders: list[asyncio.Task[None]] = []
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        self.counters.update(self._store.load_note(COUNTERS_NOTE, dict[str, int]) or {})
        self._store.on_commit.append(self._release)
        self._running.set()
        if self._options.webhook_url is None:
            return
        self._uncommitted.extend(self._store.load_due(WebhookEvent))
        self._release()
        for number in range(max(1, self._options.webhook_concurrency)):
            self._senders.append(asyncio.create_task(self._send_forever(), name=f"webhooks-{number}"))

    async def stop(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._delivery.stop()

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def summary(self) -> dict[str, Any]:
        pending = sum(map(len, self._queues.values())) + len(self._uncommitted)
        return {
            "sent": self.counters["sent"],
            "pending": pending,
            "failed": self.counters["failed"],
            "lost": self.counters["lost"],
            "attemptsRefused": self.counters["attemptsRefused"],
            "forgedSent": self.counters["forgedSent"],
            "forgedAccepted": self.counters["forgedAccepted"],
            "paused": not self._running.is_set(),
        }

    def emit(
        self,
        mode: Mode,
        kind: str,
        subject: str,
        data: dict[str, Any],
        options: DeliveryOptions = DEFAULT_OPTIONS,
    ) -> str | None:
        """Queue an event with the next commit; return its id, or None if its type is not enabled."""
        if self._options.webhook_url is None or not (options.always or options.forged or kind in self._enabled_types):
            return None
        now = now_seconds()
        event_id = options.event_id or new_id("evt")
        body = {"id": event_id, "type": kind, "data": data, "timestamp": options.at or format_time(now)}
        event = WebhookEvent(
            id=new_id("dlv"),
            mode=mode,
            due_at=now + options.delay_seconds,
            subject=subject,
            body=msgspec.json.encode(body).decode(),
            created_at=now,
            forged=options.forged,
            copies=options.copies,
        )
        self._store.save(event)
        self._uncommitted.append(event)
        return event_id

    def count_lost(self) -> None:
        self._count("lost")

    def _count(self, name: str) -> None:
        self.counters[name] += 1
        self._store.save_note(COUNTERS_NOTE, self.counters)

    def _release(self) -> None:
        for event in self._uncommitted:
            queue = self._queues.setdefault(event.subject, deque())
            queue.append(event)
            if len(queue) == 1:
                self._make_ready(event)
        self._uncommitted.clear()

    def _make_ready(self, event: WebhookEvent) -> None:
        if event.due_at is not None and event.due_at > now_seconds():
            self._timer.at(event.due_at, self._ready.put_nowait, event)
        else:
            self._ready.put_nowait(event)

    async def _send_forever(self) -> None:
        while True:
            event = await self._ready.get()
            await self._running.wait()
            body = event.body.encode()
            if event.copies > 1:
                sends = (self._delivery.send(body, forged=event.forged) for _ in range(event.copies))
                statuses = await asyncio.gather(*sends)
            else:
                statuses = [await self._delivery.send(body, forged=event.forged)]
            self._handle_statuses(event, statuses)

    def _handle_statuses(self, event: WebhookEvent, statuses: list[int]) -> None:
        if event.forged and all(statuses):
            self._count("forgedSent")
            if any(200 <= status < 300 for status in statuses):
                self._count("forgedAccepted")
            self._remove(event)
        elif all(200 <= status < 300 for status in statuses):
            self._count("sent")
            self._remove(event)
        elif now_seconds() - event.created_at > GIVE_UP_SECONDS:
            self._count("failed")
            self._remove(event)
        else:
            self._count("attemptsRefused")
            attempt = self._attempts[event.id]
            self._attempts[event.id] += 1
            wait_seconds = min(FIRST_RETRY_SECONDS * 2.0 ** min(attempt, 10), RETRY_SECONDS_MAX)
            self._timer.at(now_seconds() + wait_seconds, self._ready.put_nowait, event)

    def _remove(self, event: WebhookEvent) -> None:
        self._attempts.pop(event.id, None)
        self._store.delete(event)
        queue = self._queues[event.subject]
        queue.popleft()
        if queue:
            self._make_ready(queue[0])
        else:
            del self._queues[event.subject]
