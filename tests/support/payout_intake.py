"""Requests for the payout intake as the handler makes them, and their decoded answers."""

import json
import uuid
from typing import Any

from gateway.intake.payout_requests import IntakeResponse, PayoutRequest, single_payout_payload
from shared.identity.audit import Actor
from shared.payouts.orders import PayoutOrder
from shared.payouts.rows import payout_payload
from shared.schema.audit import ActorKind

ORGANIZATION_ID = uuid.uuid4()
"""The organization whose audit log is written; no test reads it."""


def payout_request(order: PayoutOrder, key: str | None = None, body: bytes = b"{}") -> PayoutRequest:
    """Return a request as the handler makes it."""
    actor = Actor(ActorKind.KEY, ORGANIZATION_ID, order.wallet_id)
    return PayoutRequest(
        order.wallet_id, [order], key, body, str(uuid.uuid4()), single_payout_payload(payout_payload), actor
    )


def content_of(answer: IntakeResponse) -> dict[str, Any]:
    """Return the `data` or the `error` of a response."""
    content = json.loads(answer.body)
    return dict(content["data"] if content["success"] else content["error"])
