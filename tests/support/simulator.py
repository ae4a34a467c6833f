"""Control of the Paystream simulator: its record of payments, and its faults."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.http_client import Answer, call

# Rails of our API → rails of Paystream.
RAILS = {"standard": "standard", "same_day": "same_day_ach", "instant": "rtp"}


class Simulator:
    """Client of the control endpoints."""

    def __init__(self, url: str) -> None:
        self.url = url

    def payments(self, mode: str = "test") -> list[Any]:
        """Return every accepted payment, oldest first, with the `email` of its recipient."""
        payments: list[Any] = []
        emails: dict[str, str] = {}
        cursor = ""
        while cursor is not None:
            page = self._call("GET", f"/control/record?mode={mode}&limit=500" + (cursor and f"&cursor={cursor}")).body
            payments += page["payments"]
            emails |= {recipient["id"]: recipient["email"] for recipient in page["recipients"]}
            cursor = page["nextCursor"]
        return [payment | {"email": emails[payment["recipientId"]]} for payment in payments]

    def payments_described(self, text: str) -> list[Any]:
        return [payment for payment in self.payments() if text in (payment["description"] or "")]

    def stats(self) -> Any:
        return self._call("GET", "/control/stats").body

    def webhooks_settled(self) -> bool:
        """Whether every webhook was delivered or given up."""
        return bool(self.stats()["webhooks"]["pending"] == 0)

    @contextmanager
    def misbehaving(self, fault: str, description: str | None = None, **rule: object) -> Iterator[None]:
        """Inject a fault into all payments, or those whose description contains `description`, while the block runs."""
        match = {"match": {"descriptionContains": description}} if description else {}
        made = self._call("POST", "/control/faults", {"fault": fault, **match, **rule}).body
        try:
            yield
        finally:
            self._call("DELETE", f"/control/faults/{made['id']}")

    @contextmanager
    def webhooks_paused(self) -> Iterator[None]:
        self._call("POST", "/control/webhooks/pause", {})
        try:
            yield
        finally:
            self._call("POST", "/control/webhooks/resume", {})

    def complete(self, payment_id: str) -> None:
        self._call("POST", f"/control/payments/{payment_id}/complete", {})

    def _call(self, method: str, path: str, body: object = None) -> Answer:
        text = None if body is None else json.dumps(body).encode()
        answer = call(self.url, method, path, text, {"Content-Type": "application/json"})
        assert answer.status < 300, answer
        return answer
