"""Steps of a payout at the provider: submit it, store its webhooks, apply them."""

import json
import uuid
from datetime import timedelta

from shared import inbox
from shared.inbox import AppliedEvent
from shared.payouts.provider_results import record_outcome
from shared.payouts.submission_leases import LeasedSubmission
from shared.provider.outcomes import Accepted
from tests.support.world import GRACE, World
from workers.coalescing_queue import CoalescingQueue
from workers.context import Context


def accepted_answer(held: LeasedSubmission) -> Accepted:
    """Return the outcome of an accepted submission."""
    if held.kind == "payment":
        return Accepted({**held.request, "id": f"pay_{uuid.uuid4().hex}", "status": "created"})
    payments = [{**one, "id": f"pay_{uuid.uuid4().hex}", "status": "created"} for one in held.request["payments"]]
    return Accepted({"id": f"batch_{uuid.uuid4().hex}", "name": held.request["name"], "payments": payments})


def submitted_payout(world: World) -> tuple[uuid.UUID, str]:
    """Submit a payout; return its id and the provider's id."""
    [payout_id], held = world.leased_submission()
    answer = accepted_answer(held)
    with world.engine.begin() as connection:
        record_outcome(connection, held, answer, world.clock.now(), poll_after=timedelta(minutes=1))
    return payout_id, answer.data["id"]


def webhook_body(payment_id: str, state: str, amount_cents: int = 44_750, event_id: str | None = None) -> bytes:
    """Return the body of a Paystream webhook."""
    return json.dumps(
        {
            "id": event_id or f"evt_{uuid.uuid4().hex}",
            "type": f"payment.{state}",
            "data": {"paymentId": payment_id, "amount": amount_cents, "status": state},
        }
    ).encode()


def store_webhooks(world: World, *bodies: bytes) -> list[uuid.UUID]:
    """Store webhooks in one transaction."""
    with world.engine.begin() as connection:
        notices = [inbox.parse_notification(body) for body in bodies]
        return inbox.store_notifications(connection, notices, world.clock.now(), grace=GRACE).waiting


def apply_events(world: World, event_ids: list[uuid.UUID]) -> list[AppliedEvent]:
    """Apply stored webhooks in one transaction."""
    with world.engine.begin() as connection:
        return inbox.apply_events(connection, event_ids, world.clock.now())


TRANSFERS_BY_STATUS = {
    "completed": [("reserve", 45_000), ("settle", 44_750), ("fee", 250)],
    "failed": [("reserve", 45_000), ("release", 45_000)],
    "returned": [("reserve", 45_000), ("settle", 44_750), ("fee", 250), ("return", 44_750)],
}


class WorkerContext(Context):
    """A worker context of which only the database is used."""

    def __init__(self, world: World) -> None:
        self.engine, self.clock, self.provider_events_queue = (
            world.engine,
            world.clock,
            CoalescingQueue("provider_events"),
        )
