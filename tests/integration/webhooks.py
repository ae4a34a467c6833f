"""What stories about webhooks need: a wallet's endpoints, and their deliveries taken a step at a time, by hand."""

import queue
import uuid
from collections.abc import Sequence
from typing import Any

from shared.events import endpoints
from shared.events.claim import DeliveryAttempt, claim_deliveries
from shared.events.customer_events import Event, EventType, write_events
from shared.events.delivery_results import DeliveryResult, PausedEndpoint, record_delivery_results
from shared.events.pace_limits import PACE_LIMITS
from shared.events.sender import WebhookSender
from shared.schema.events import Pace
from tests.support.world import World

PEPPER = "a pepper for tests"
FREE = {pace: limits.calls_per_process for pace, limits in PACE_LIMITS.items()}
OK = DeliveryResult("delivered", 200, None, 0.01)
FAILED = DeliveryResult("refused", 500, "answered 500", 0.01)


def endpoint(world: World, url: str = "https://example.com/", events: Sequence[str] = tuple(EventType)) -> uuid.UUID:
    """An endpoint of the wallet's."""
    with world.engine.begin() as connection:
        made = endpoints.create_endpoint(connection, world.wallet_id, url, events, PEPPER, world.clock.now())
    return made.row.id


def happen(world: World, count: int = 1, kind: str = "payout.succeeded") -> None:
    """That many events, in one transaction."""
    events = [Event(world.wallet_id, kind, None, 0, {"number": number}) for number in range(count)]
    with world.engine.begin() as connection:
        write_events(connection, events, world.clock.now())


def take(
    world: World, *endpoint_ids: uuid.UUID, lease_seconds: float = 60, free: dict[Pace, int] = FREE
) -> list[DeliveryAttempt]:
    """What is due for these endpoints, claimed."""
    with world.engine.begin() as connection:
        return claim_deliveries(connection, endpoint_ids, world.clock.now(), free=free, lease_seconds=lease_seconds)


def end(world: World, *done: tuple[DeliveryAttempt, DeliveryResult]) -> list[PausedEndpoint]:
    """Records how attempts ended, without jitter."""
    with world.engine.begin() as connection:
        return record_delivery_results(connection, done, world.clock.now(), jitter=lambda: 0.0)


def sent(sender: WebhookSender, *attempts: DeliveryAttempt) -> list[tuple[DeliveryAttempt, DeliveryResult]]:
    """The attempts made, in the order in which they ended."""
    done: queue.SimpleQueue[tuple[DeliveryAttempt, DeliveryResult]] = queue.SimpleQueue()
    for attempt in attempts:
        sender.send(attempt, lambda attempt, reply: done.put((attempt, reply)))
    return [done.get(timeout=20) for _ in attempts]


def delivery(world: World, attempt: DeliveryAttempt) -> dict[str, Any]:
    """A delivery's row."""
    with world.engine.connect() as connection:
        return dict(
            connection.exec_driver_sql(
                "SELECT * FROM webhook_deliveries WHERE endpoint_id = %s AND event_id = %s", attempt.key
            )
            .one()
            ._mapping
        )


def row(world: World, endpoint_id: uuid.UUID) -> dict[str, Any]:
    """An endpoint's row."""
    with world.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM webhook_endpoints WHERE id = %s", (endpoint_id,)).one()
        return dict(found._mapping)
