"""The measured requests: single payouts and bulk requests, each with unique keys and loads."""

import uuid
from typing import Any

from tests.benchmarks.load import JSON_TYPE, Aim, template
from tests.benchmarks.storm import MARK
from tests.benchmarks.system import AMOUNT_CENTS, System

CONNECTIONS = 64
BULK = 100
_N = MARK.decode()


def _headers(system: System) -> dict[str, str]:
    name, value = JSON_TYPE
    return {
        "Authorization": system.customer.headers["Authorization"],
        name: value.decode(),
        "Idempotency-Key": f"b-{_N}",
    }


def _payout(driver_id: str, load: str) -> dict[str, Any]:
    return {"driverId": driver_id, "amount": AMOUNT_CENTS, "loadId": load, "description": f"Payment for load {load}"}


def single(system: System, path: str = "/api/v1/payouts", *, loads: bool = True) -> Aim:
    """`POST /payouts`, for each driver in turn."""
    bodies = [_payout(driver_id, f"L-{_N}") for driver_id in system.drivers]
    if not loads:
        bodies = [{"driverId": body["driverId"], "amount": AMOUNT_CENTS} for body in bodies]
    return Aim(system.stack["gateway"], [template("POST", path, _headers(system), body) for body in bodies])


def bulk_items(system: System, mark: str, count: int = BULK) -> list[dict[str, Any]]:
    """Return the payouts of one request."""
    drivers = system.drivers
    return [_payout(drivers[place % len(drivers)], f"L-{mark}-{place}") for place in range(count)]


def bulk(system: System) -> Aim:
    """`POST /payouts/bulk` with 100 payouts."""
    body = {"payouts": bulk_items(system, _N)}
    return Aim(system.stack["gateway"], [template("POST", "/api/v1/payouts/bulk", _headers(system), body)])


def batch(system: System, count: int, **more: object) -> dict[str, Any]:
    """Return the body of `POST /batches`."""
    mark = uuid.uuid4().hex[:12]
    return {"name": f"Bench {mark}", "urgency": "standard", "payouts": bulk_items(system, mark, count), **more}
