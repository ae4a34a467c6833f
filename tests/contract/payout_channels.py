"""The four channels to request a payout, with one interface: single, instant, bulk, batch."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.batches import PATH as BATCHES
from tests.support.customer import Customer
from tests.support.http_client import Answer

CHANNELS = ("single", "instant", "bulk", "batch")


@dataclass(frozen=True)
class Outcome:
    """The result of one request: payout id and warnings, or error code and details."""

    payout_id: str | None = None
    warnings: list[Any] = field(default_factory=list)
    code: str | None = None
    details: Any = None
    status: int = 200  # of the response
    batch_id: str | None = None


def post_payout(channel: str, customer: Customer, payout: dict[str, Any]) -> Outcome:
    """Request a payout with the body of POST /api/v1/payouts without urgency. A batch is created, not released."""
    if channel in ("single", "instant"):
        answer = customer.post("/api/v1/payouts" + ("/instant" if channel == "instant" else ""), payout)
        return _accepted(answer.data) if answer.status == 200 else _rejected(answer, answer.error)
    if channel == "bulk":
        (result,) = customer.post("/api/v1/payouts/bulk", {"payouts": [payout]}).data["results"]
        if result["status"] == "success":
            return _accepted(result["item"])
        return Outcome(code=result["code"], details=result.get("details"))
    answer = customer.post(BATCHES, {"name": "A batch of one", "payouts": [payout]})
    if answer.status != 200:
        (item,) = answer.error["details"]["items"]
        assert item["code"] == answer.error["code"], answer
        return _rejected(answer, item)
    (payout,) = customer.get(f"{BATCHES}/{answer.data['id']}").data["payouts"]
    warnings = answer.data.get("warnings") or []
    assert all(warning["index"] == 0 for warning in warnings), answer
    return Outcome(payout["id"], warnings, batch_id=answer.data["id"])


def _accepted(payout: Any) -> Outcome:
    return Outcome(payout["id"], payout.get("warnings") or [])


def _rejected(answer: Answer, error: Any) -> Outcome:
    return Outcome(code=error["code"], details=error.get("details"), status=answer.status)
