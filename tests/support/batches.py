"""The batch of the API reference."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.customer import Customer
from tests.support.polling import until

PATH = "/api/v1/batches"
BATCH_ENDS = frozenset({"completed", "failed", "canceled"})
AMOUNTS_CENTS = (45_000, 50_000, 40_000)
# 0.5 % of each, at most 250
FEES_CENTS = (225, 250, 200)


def batch_body(driver_ids: list[str], **more: object) -> dict[str, Any]:
    """Return the request body of a batch; each payout has a unique load and description."""
    mark = uuid.uuid4().hex[:12]
    payouts = [
        {"amount": cents, "driverId": driver_id, "loadId": f"L-{mark}-{number}", "description": f"Load #{mark}"}
        for number, (cents, driver_id) in enumerate(zip(AMOUNTS_CENTS, driver_ids, strict=True))
    ]
    return {"name": f"Weekly Payouts {mark}", "urgency": "standard", "payouts": payouts, **more}


def create_batch(customer: Customer, driver_ids: list[str], **more: object) -> Any:
    """Create such a batch, and return it."""
    return customer.post(PATH, batch_body(driver_ids, **more)).data


def until_batch(customer: Customer, batch_id: str, status: str, seconds: float = 30) -> Any:
    """Wait for a status of a batch, and return the batch. Fails at once if it ends with another status."""

    def probe() -> Any:
        batch = customer.get(f"{PATH}/{batch_id}").data
        assert batch["status"] not in BATCH_ENDS - {status}, batch
        return batch if batch["status"] == status else None

    return until(probe, f"{batch_id} is {status}", seconds)


def time_from_now(days: float = 0, minutes: float = 0) -> str:
    """Return a time that much later than now, in the format of the API reference."""
    return (datetime.now(UTC) + timedelta(days=days, minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_same_time(first: str, second: str) -> bool:
    return datetime.fromisoformat(first) == datetime.fromisoformat(second)
