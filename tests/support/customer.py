"""A customer of OVN Pay: the API over plain HTTP with one API key or session."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.support.http_client import Answer, call
from tests.support.polling import until

PAYOUT_ENDS = frozenset({"completed", "failed", "canceled", "returned"})


class Customer:
    """A client with an API key. `payout`, `pay` and the like assert success and return the `data` of the response."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def get(self, path: str, **query: object) -> Answer:
        return call(self.url, "GET", f"{path}?{urlencode(query)}" if query else path, headers=self.headers)

    def post(self, path: str, body: object, idempotency_key: str | None = None) -> Answer:
        with_key = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return call(self.url, "POST", path, json.dumps(body).encode(), self.headers | with_key)

    def items(self, path: str, **query: object) -> Iterator[Any]:
        """Yield every item of a list, page by page."""
        page = 1
        while True:
            data = self.get(path, page=page, pageSize=100, **query).data
            yield from data["items"]
            if not data["hasNextPage"]:
                return
            page += 1

    def balance(self) -> Any:
        return self.get("/api/v1/balance").data

    def available_cents(self) -> int:
        return int(self.balance()["available"])

    def fund(self, amount_cents: int) -> None:
        """Top up, and wait until the money has settled."""
        before = self.balance()
        self.post("/api/v1/funding/topup", {"amount": amount_cents, "method": "bank_transfer"}).data  # noqa: B018
        wanted_cents = before["available"] + before["pending"] + amount_cents
        until(lambda: self.available_cents() >= wanted_cents, f"{amount_cents} cents have settled")

    def register(self, name: str = "John Smith", email: str | None = None) -> Any:
        """Create a driver, who is not verified yet."""
        mark = uuid.uuid4().hex[:12]
        email = email or f"{mark}@drivers.example"
        body = {"ovnDriverId": f"OVN-{mark}", "name": name, "email": email, "phone": "+15551234567"}
        return self.post("/api/v1/drivers", body).data

    def verified_driver(self, name: str = "John Smith") -> Any:
        """Create a driver, and wait until payouts to the driver are allowed."""
        return self.until_verified(self.register(name)["id"])

    def until_verified(self, driver_id: str) -> Any:
        def probe() -> Any:
            driver = self.get(f"/api/v1/drivers/{driver_id}").data
            return driver if (driver["status"], driver["kycStatus"]) == ("active", "verified") else None

        return until(probe, f"{driver_id} is verified")

    def pay(self, driver_id: str, amount_cents: int, **more: object) -> Any:
        return self.post("/api/v1/payouts", {"driverId": driver_id, "amount": amount_cents, **more}).data

    def payout(self, payout_id: str) -> Any:
        return self.get(f"/api/v1/payouts/{payout_id}").data

    def until_payout(self, payout_id: str, status: str, seconds: float = 20) -> Any:
        """Wait for a status of a payout, and return the payout. Fails at once if it ends with another status."""

        def probe() -> Any:
            payout = self.payout(payout_id)
            ended_otherwise = payout["status"] in PAYOUT_ENDS - {status} and (payout["status"], status) != (
                "completed",
                "returned",
            )
            assert not ended_otherwise, payout
            return payout if payout["status"] == status else None

        return until(probe, f"{payout_id} is {status}", seconds)
