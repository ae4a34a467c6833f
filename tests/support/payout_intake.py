"""Requests for the payout intake as the handler makes them, and their decoded answers."""

import json
import uuid
from typing import Any

from gateway.intake.payouts import Answer, PayoutRequest, only
from shared.identity.audit import Actor
from shared.payouts.accept import Order
from shared.payouts.rows import public
from shared.schema.audit import ActorKind

NOBODYS = uuid.uuid4()
"""Whose audit log it is in does not matter here."""


def request(order: Order, key: str | None = None, body: bytes = b"{}") -> PayoutRequest:
    """A request as the handler makes it."""
    actor = Actor(ActorKind.KEY, NOBODYS, order.wallet_id)
    return PayoutRequest(order.wallet_id, [order], key, body, str(uuid.uuid4()), only(public), actor)


def data(answer: Answer) -> dict[str, Any]:
    """What an answer says."""
    content = json.loads(answer.body)
    return dict(content["data"] if content["success"] else content["error"])
