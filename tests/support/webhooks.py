"""Steps of webhook delivery, one at a time: create an endpoint, write events, claim, send, record the results."""

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
FREE_SLOTS = {pace: limits.calls_per_process for pace, limits in PACE_LIMITS.items()}
DELIVERED = DeliveryResult("delivered", 200, None, 0.01)
FAILED = DeliveryResult("refused", 500, "answered 500", 0.01)


def add_endpoint(
    world: World, url: str = "https://example.com/", events: Sequence[str] = tuple(EventType)
) -> uuid.UUID:
    """Create an endpoint of the world's wallet and return its id."""
    with world.engine.begin() as connection:
        issued = endpoints.create_endpoint(connection, world.wallet_id, url, events, PEPPER, world.clock.now())
    return issued.row.id


def add_events(world: World, count: int = 1, kind: str = "payout.succeeded") -> None:
    """Write that many events in one transaction."""
    events = [Event(world.wallet_id, kind, None, 0, {"number": number}) for number in range(count)]
    with world.engine.begin() as connection:
        write_events(connection, events, world.clock.now())


def claim(
    world: World, *endpoint_ids: uuid.UUID, lease_seconds: float = 60, free: dict[Pace, int] = FREE_SLOTS
) -> list[DeliveryAttempt]:
    """Claim what is due for these endpoints."""
    with world.engine.begin() as connection:
        return claim_deliveries(connection, endpoint_ids, world.clock.now(), free=free, lease_seconds=lease_seconds)


def record(world: World, *results: tuple[DeliveryAttempt, DeliveryResult]) -> list[PausedEndpoint]:
    """Record results without jitter."""
    with world.engine.begin() as connection:
        return record_delivery_results(connection, results, world.clock.now(), jitter=lambda: 0.0)


def send(sender: WebhookSender, *attempts: DeliveryAttempt) -> list[tuple[DeliveryAttempt, DeliveryResult]]:
    """Make the calls and return their results, in the order in which they ended."""
    results: queue.SimpleQueue[tuple[DeliveryAttempt, DeliveryResult]] = queue.SimpleQueue()
    for attempt in attempts:
        sender.send(attempt, lambda attempt, result: results.put((attempt, result)))
    return [results.get(timeout=20) for _ in attempts]


def delivery_row(world: World, attempt: DeliveryAttempt) -> dict[str, Any]:
    """Load a delivery."""
    with world.engine.connect() as connection:
        return dict(
            connection.exec_driver_sql(
                "SELECT * FROM webhook_deliveries WHERE endpoint_id = %s AND event_id = %s", attempt.key
            )
            .one()
            ._mapping
        )


def endpoint_row(world: World, endpoint_id: uuid.UUID) -> dict[str, Any]:
    """Load an endpoint."""
    with world.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM webhook_endpoints WHERE id = %s", (endpoint_id,)).one()
        return dict(found._mapping)
