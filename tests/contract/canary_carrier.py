"""A carrier with marked data that uses every route, with success and with every kind of error."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg

from shared.platform.ids import TRANSACTION, parse_id
from tests.contract.canary import Response, Secret, SecretSender
from tests.support import provider_webhooks
from tests.support.customer import PAYOUT_ENDS, Customer
from tests.support.organization import ALL_SCOPES, Organization
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack

MAKES_KEYS = r"POST /api/v1/(developer/keys|developer/keys/\{id\}/regenerate|admin/api-keys/\{id\}/approve)$"
OF_DRIVERS = r" /api/v1/(drivers|events|sandbox/state)"
OF_PAYOUTS = (
    r" /api/v1/(drivers|payouts|batches|scheduled-payouts|funding|webhooks|events|sandbox/state|analytics/drivers)"
)


def _digits(count: int) -> str:
    return "".join(secrets.choice("123456789") for _ in range(count))


def _mark() -> str:
    return f"Canary{secrets.token_hex(9)}"


class Canary:
    """A carrier with marked data."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.organization = Organization(stack)
        self.owner = self.organization.owner
        self.key = str(self.organization.sandbox().headers["Authorization"].removeprefix("Bearer "))
        self.production_key = str(self.organization.production().headers["Authorization"].removeprefix("Bearer "))
        self.driver = {"name": _mark(), "email": f"{_mark()}@drivers.example", "phone": f"+1{_digits(10)}"}
        self.account = {"accountNumber": _digits(16), "routingNumber": _digits(9), "accountType": "savings"}
        self.ssn, self.street, self.words = _digits(9), _mark(), _mark()
        self.sender = SecretSender(stack["gateway"], list(self._secrets()))
        self.customer = Customer(stack["gateway"], self.key)
        self.token = ""
        self.rejected_by_the_database: list[Response] = []

    def _secrets(self) -> Iterator[Secret]:
        kept: Any = json.loads((self.stack.home / "secrets.json").read_text())
        yield Secret("sandbox key", self.key, MAKES_KEYS)
        yield Secret("production key", self.production_key, MAKES_KEYS)
        yield Secret("the stack's sandbox key", self.stack["sandbox_key"], MAKES_KEYS)
        yield Secret("the stack's production key", self.stack["production_key"], MAKES_KEYS)
        yield Secret("session token", self.owner.token, r"POST /api/v1/auth/login$")
        yield Secret("password", self.stack["owner"]["password"])
        yield Secret("account number", self.account["accountNumber"])
        yield Secret("routing number", self.account["routingNumber"])
        yield Secret("SSN", self.ssn)
        yield Secret("street", self.street)
        yield Secret("driver's name", self.driver["name"], OF_PAYOUTS, kept=True)
        yield Secret("driver's email", self.driver["email"].partition("@")[0], OF_DRIVERS, kept=True)
        yield Secret("driver's phone", self.driver["phone"][1:], OF_DRIVERS, kept=True)
        yield Secret("description", self.words, OF_PAYOUTS, kept=True)
        yield Secret("webhook secret", self.stack["webhook_secret"])
        yield Secret("Paystream test key", self.stack["paystream_keys"]["test"])
        yield Secret("Paystream live key", self.stack["paystream_keys"]["live"])
        yield Secret("key pepper", kept["key_pepper"], pushed=False)
        for name in ("database_url", "service_database_url"):
            password = str(self.stack[name]).partition("@")[0].rpartition(":")[2]
            yield Secret(f"password in {name}", password, pushed=False)

    def new_driver(self) -> dict[str, str]:
        """Return a driver with the marked data."""
        return {"ovnDriverId": f"OVN-{secrets.token_hex(4)}", **self.driver}

    def details(self) -> dict[str, Any]:
        """Return bank account and identity."""
        address = {"line1": self.street, "city": "Omaha", "ssn": self.ssn}
        identity = {"firstName": self.driver["name"], "lastName": "X", "dateOfBirth": "1980-05-17", "address": address}
        return {"bankAccount": self.account, "identity": identity}

    def everything_done_once(self) -> None:
        """Call every route successfully."""
        ask, key, words = self.sender.ask, self.key, {"description": self.words}
        for path in ("/", "/health", "/openapi.json", "/docs"):
            ask(f"GET {path}")
        ask("GET /docs/{file}", file="start.js")
        self._keys()
        made = ask("POST /api/v1/drivers", self.new_driver(), token=key)["data"]["id"]
        ask("POST /api/v1/drivers/bulk", {"drivers": [self.new_driver(), self.new_driver()]}, token=key)
        ask("GET /api/v1/drivers", token=key)
        ask("PUT /api/v1/drivers/{id}", self.details(), token=key, id=made)
        ask("POST /api/v1/funding/topup", {"amount": 90_000_000, "method": "rtp", **words}, token=key)
        self.customer.until_verified(made)
        until(lambda: self.customer.available_cents() > 1_000_000, "the money is there")
        ask("GET /api/v1/drivers/{id}", token=key, id=made)
        payout = {"driverId": made, "amount": 45_000, **words}
        first = ask("POST /api/v1/payouts", payout, token=key)["data"]["id"]
        ask("POST /api/v1/payouts/instant", {**payout, "requestedBy": self.words}, token=key)
        bulk = ask("POST /api/v1/payouts/bulk", {"payouts": [payout, payout]}, token=key)
        assert bulk["success"], bulk
        queued = ask("POST /api/v1/batches", {"name": "Waits", "payouts": [payout]}, token=key)["data"]["id"]
        waiting = self.customer.get(f"/api/v1/batches/{queued}").data["payouts"][0]["id"]
        failing = {**payout, "description": f"{self.words} [simulate:fail:BANK_REJECTED]"}
        failed = ask("POST /api/v1/payouts", failing, token=key)["data"]["id"]
        self.customer.until_payout(failed, "failed")
        for name, which in (("cancel", waiting), ("retry", failed)):
            ask(f"POST /api/v1/payouts/{{id}}/{name}", {}, token=key, id=which)
            ask(f"POST /api/v1/payouts/bulk/{name}", {"payoutIds": [which]}, token=key)
        for name in ("release", "run"):
            batch = ask("POST /api/v1/batches", {"name": self.words, "payouts": [payout]}, token=key)["data"]["id"]
            ask(f"POST /api/v1/batches/{{id}}/{name}", {}, token=key, id=batch)
            ask("GET /api/v1/batches/{id}", token=key, id=batch)
        self._batch_changes(payout)
        self._webhooks()
        self.customer.until_payout(first, "completed")
        ask("GET /api/v1/payouts/{id}/timeline", token=key, id=failed)
        event = {"type": "payment.completed", "data": {"paymentId": "pay_unknown", "description": self.words}}
        self.webhook(json.dumps(event).encode())
        for path in ("drivers/{id}/payouts", "payouts/{id}"):
            ask(f"GET /api/v1/{path}", token=key, id=made if path.startswith("drivers") else first)
        for path in (
            "payouts", "batches", "scheduled-payouts", "scheduled-payouts/stats", "balance",
            "funding/transactions", "funding/projection", "webhooks/logs", "sandbox/state",
            "analytics/summary", "analytics/timeseries", "analytics/drivers", "analytics/rails", "analytics/failures",
        ):  # fmt: skip
            ask(f"GET /api/v1/{path}", token=key)
        ask("GET /api/v1/payouts/instant/fee", token=key, query="amount=50000")
        spare = ask("POST /api/v1/drivers", self.new_driver(), token=key)["data"]["id"]
        ask("DELETE /api/v1/drivers/{id}", token=key, id=spare)

    def _webhooks(self) -> None:
        ask, key, path = self.sender.ask, self.key, "/api/v1/webhooks"
        order = {"url": "http://127.0.0.1:9/hook", "events": ["payout.created"]}
        hook = ask(f"POST {path}", order, token=key)["data"]["id"]
        ask(f"GET {path}", token=key)
        ask(f"GET {path}/{{id}}", token=key, id=hook)
        ask(f"POST {path}/{{id}}/test", {}, token=key, id=hook)
        event = ask("GET /api/v1/events", token=key)["data"]["items"][0]["id"]
        ask(f"PUT {path}/{{id}}", {"status": "paused"}, token=key, id=hook)
        ask(f"POST {path}/{{id}}/rotate-secret", {}, token=key, id=hook)
        ask(f"POST {path}/{{id}}/redeliver", {"since": datetime.now(UTC).isoformat()}, token=key, id=hook)
        ask(f"GET {path}/{{id}}/deliveries", token=key, id=hook)
        ask(f"POST {path}/{{id}}/deliveries/{{delivery}}/redeliver", {}, token=key, id=hook, delivery=event)
        ask(f"DELETE {path}/{{id}}", token=key, id=hook)

    def _batch_changes(self, payout: dict[str, object]) -> None:
        ask, key = self.sender.ask, self.key
        order = {"name": self.words, "payouts": [payout]}
        ask("POST /api/v1/batches/quote", order, token=key)
        batch = ask("POST /api/v1/batches", order, token=key)["data"]["id"]
        ask("GET /api/v1/batches/{id}/payouts", token=key, id=batch)
        ask("POST /api/v1/batches/{id}/retry-failed", {}, token=key, id=batch)
        ask("POST /api/v1/batches/{id}/reschedule", {"scheduledFor": None}, token=key, id=batch)
        ask("POST /api/v1/batches/{id}/cancel", {}, token=key, id=batch)

    def _keys(self) -> None:
        ask, login = self.sender.ask, {"email": self.owner.email, "password": self.stack["owner"]["password"]}
        token = ask("POST /api/v1/auth/login", login)["data"]["token"]
        ask("GET /api/v1/auth/me", token=token)
        ask("GET /api/v1/developer/scopes", token=token)
        ids = [
            ask(
                "POST /api/v1/developer/keys",
                {"name": "A key", "mode": mode, "scopes": ALL_SCOPES, "approval_reason": "The tests"},
                token=token,
            )["id"]
            for mode in ("sandbox", "production", "production")
        ]
        ask("POST /api/v1/developer/keys/{id}/regenerate", {}, token=token, id=ids[0])
        ask("POST /api/v1/admin/api-keys/{id}/approve", {}, token=token, id=ids[1])
        ask("POST /api/v1/admin/api-keys/{id}/reject", {"reason": "No need"}, token=token, id=ids[2])
        for path in ("developer/keys", "admin/api-keys", "admin/api-keys/pending", "admin/audit"):
            ask(f"GET /api/v1/{path}", token=token)
        for family in ("developer/keys", "admin/api-keys"):
            ask(f"GET /api/v1/{family}/{{id}}", token=token, id=ids[1])
            ask(f"DELETE /api/v1/{family}/{{id}}", token=token, id=ids[0] if family.startswith("dev") else ids[1])
        self.token = token

    def reset_and_sign_out(self) -> None:
        """Call the routes that seed and reset the wallet, and sign out."""
        self.sender.ask("POST /api/v1/auth/logout", token=self.token)
        self.sender.ask("POST /api/v1/sandbox/seed", {}, token=self.key)
        self.sender.ask("POST /api/v1/sandbox/reset", {}, token=self.key)

    def webhook(self, body: bytes, secret: str = "") -> None:
        """Send a webhook of the provider."""
        signed = provider_webhooks.signature(body, secret or self.stack["webhook_secret"])
        headers = [("X-Signature", signed.encode())]
        self.sender.ask("POST /api/v1/webhooks/paystream", body, headers=headers)

    def rejected_content(self) -> None:
        """Send requests that are rejected for their content."""
        bundle = self.sender.bundle
        for content in (bundle, {"type": bundle}, {"type": {bundle: bundle}}, {"data": {"amount": bundle}}):
            self.webhook(json.dumps(content).encode(), "not the secret")
        for content in (bundle, {"type": {bundle: bundle}}, {"data": {"amount": bundle}}, {bundle: bundle}):
            self.webhook(json.dumps(content).encode())
        for email, password in (
            (self.owner.email, f"{self.stack['owner']['password']}x"),
            (f"{self.driver['email']}", self.stack["owner"]["password"]),
            (self.key, self.owner.token),
        ):
            self.sender.ask("POST /api/v1/auth/login", {"email": email, "password": password})
        for token in (self.key + "x", self.production_key[:-1], self.owner.token + "x", bundle):
            self.sender.ask("GET /api/v1/balance", token=token)
            self.sender.ask("GET /api/v1/auth/me", token=token)

    def the_provider_fails(self, provider: Simulator) -> None:
        """Let the provider reject, fail and time out, with the request repeated in its errors."""
        key, ask = self.key, self.sender.ask
        drivers = [self.customer.verified_driver()["id"] for _ in range(2)]
        with provider.misbehaving("repeat"):
            for fault in ("error_500", "reject:ACCOUNT_INVALID"):
                with provider.misbehaving(fault, endpoint="recipients"):
                    ask("PUT /api/v1/drivers/{id}", self.details(), token=key, id=drivers[0])
                    until(lambda: self._registration_error(drivers[0]), "the error is recorded")
                    ask("GET /api/v1/drivers/{id}", token=key, id=drivers[0])
            payout = {"driverId": drivers[1], "amount": 45_000, "description": self.words}
            for fault in ("reject:ACCOUNT_CLOSED", "error_500", "timeout_before_accept"):
                with provider.misbehaving(fault, endpoint="payments"):
                    paid = ask("POST /api/v1/payouts/instant", payout, token=key)["data"]["id"]
                    until(partial(self._has_ended, paid), "the payout ends")
                    ask("GET /api/v1/payouts/{id}", token=key, id=paid)
            for fault in ("error_500", "reject:NO_FUNDING"):
                with provider.misbehaving(fault, endpoint="topup"):
                    topup = {"amount": 1_000, "description": self.words}
                    made = ask("POST /api/v1/funding/topup", topup, token=key)["data"]["transactionId"]
                    until(partial(self._was_refused, made), "the top-up is requested")

    def _registration_error(self, driver_id: str) -> str | None:
        found = self.customer.get(f"/api/v1/drivers/{driver_id}").data.get("registrationError")
        return None if found is None else str(found)

    def _has_ended(self, payout_id: str) -> bool:
        return self.customer.payout(payout_id)["status"] in PAYOUT_ENDS

    def _was_refused(self, topup_id: str) -> bool:
        statement = "select last_error is not null from topups where id = %s"
        with psycopg.connect(self.stack["database_url"]) as owner:
            return bool((owner.execute(statement, [parse_id(TRANSACTION, topup_id)]).fetchone() or [False])[0])
