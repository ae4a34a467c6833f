"""The four ways in for a payout, asked and answered alike: alone, instant, in bulk, in a batch."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.batches import PATH as BATCHES
from tests.support.customer import Customer
from tests.support.http_client import Answer

CHANNELS = ("single", "instant", "bulk", "batch")


@dataclass(frozen=True)
class Outcome:
    """What became of one payout: its id and the warnings, or the code of the refusal with its details."""

    payout_id: str | None = None
    warnings: list[Any] = field(default_factory=list)
    code: str | None = None
    details: Any = None
    status: int = 200  # of the whole answer
    batch_id: str | None = None


def post_payout(way: str, customer: Customer, payout: dict[str, Any]) -> Outcome:
    """Ask for `payout`, a body of POST /api/v1/payouts without urgency. A batch is created, not released."""
    if way in ("single", "instant"):
        answer = customer.post("/api/v1/payouts" + ("/instant" if way == "instant" else ""), payout)
        return _taken(answer.data) if answer.status == 200 else _refused(answer, answer.error)
    if way == "bulk":
        (result,) = customer.post("/api/v1/payouts/bulk", {"payouts": [payout]}).data["results"]
        if result["status"] == "success":
            return _taken(result["item"])
        return Outcome(code=result["code"], details=result.get("details"))
    answer = customer.post(BATCHES, {"name": "A batch of one", "payouts": [payout]})
    if answer.status != 200:
        (item,) = answer.error["details"]["items"]
        assert item["code"] == answer.error["code"], answer
        return _refused(answer, item)
    (payout,) = customer.get(f"{BATCHES}/{answer.data['id']}").data["payouts"]
    warnings = answer.data.get("warnings") or []
    assert all(warning["index"] == 0 for warning in warnings), answer
    return Outcome(payout["id"], warnings, batch_id=answer.data["id"])


def _taken(payout: Any) -> Outcome:
    return Outcome(payout["id"], payout.get("warnings") or [])


def _refused(answer: Answer, error: Any) -> Outcome:
    return Outcome(code=error["code"], details=error.get("details"), status=answer.status)
