"""The callers of the isolation matrix, and the carrier that they must not reach.

Nothing in the carrier's sandbox wallet changes by itself: its payouts have ended or wait in a batch.
"""

import http.client
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import psycopg

from tests.contract.customers import fund_and_register
from tests.support import batches
from tests.support.customer import Customer
from tests.support.organization import ALL_SCOPES, Organization, Person
from tests.support.polling import until
from tests.support.stack import Stack

KEYS, ADMIN, AUDIT = "/api/v1/developer/keys", "/api/v1/admin/api-keys", "/api/v1/admin/audit"
WEBHOOKS = "/api/v1/webhooks"
LISTS = (
    "/api/v1/drivers", "/api/v1/payouts", "/api/v1/batches", "/api/v1/funding/transactions", "/api/v1/webhooks/logs",
)  # fmt: skip
_IDS = re.compile(r"\b(?:drv|pay|batch|txn|key|log|aud|whe|evt)_[0-9a-z]{26}\b")
# Columns that a use changes
_USES = ("last_used_at", "last_seen_at")
_NOTHING_IS_DUE = """
    select not exists (select from drivers where wallet_id = %(id)s and next_action_at is not null)
       and not exists (select from payouts where wallet_id = %(id)s and next_action_at is not null)
       and not exists (select from topups where wallet_id = %(id)s and next_action_at is not null)
       and not exists (select from submissions where wallet_id = %(id)s and next_action_at is not null)
       and not exists (select from provider_events where wallet_id = %(id)s and next_action_at is not null)
"""


class Caller(NamedTuple):
    """A caller that a route is not for."""

    name: str
    kind: str
    """`refused`: unknown; `lacking`: without the scope; `colleague`: of the carrier; `foreign`: of another wallet."""
    key: bool = True
    session: bool = True
    """Whether the caller exists for routes with API keys, and for routes with sessions."""


CALLERS = (
    Caller("no key", "refused"),
    Caller("empty key", "refused"),
    Caller("key without Bearer", "refused"),
    Caller("key as Basic", "refused"),
    Caller("wrong form", "refused"),
    Caller("bad checksum", "refused"),
    Caller("session for key, key for session", "refused"),
    Caller("unknown", "refused"),
    Caller("expired", "refused"),
    Caller("revoked", "refused"),  # a session: signed out
    Caller("replaced", "refused", session=False),
    Caller("pending", "refused", session=False),
    Caller("rejected", "refused", session=False),
    Caller("idle", "refused", key=False),
    Caller("wrong scope", "lacking", session=False),
    Caller("viewer", "colleague", key=False),
    Caller("developer", "colleague", key=False),
    Caller("admin", "colleague", key=False),
    Caller("other organization", "foreign"),
    Caller("other mode", "foreign", session=False),
)


@dataclass(frozen=True)
class Got:
    """A response of any content type."""

    status: int
    headers: http.client.HTTPMessage
    text: str
    sent: str
    """The path and the body of the request."""

    @property
    def body(self) -> Any:
        """The body without `meta`, which differs between responses."""
        body = json.loads(self.text)
        assert body.pop("meta").keys() == {"requestId", "timestamp"}, self
        return body


class Carrier:
    """An organization with one of everything; its owner has requested all keys."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.url = str(stack["gateway"])
        self.mark = uuid.uuid4().hex[:12]
        self.organization = Organization(stack)
        self.owner = self.organization.owner
        self.password = str(stack["owner"]["password"])
        self.ids: dict[str, str] = {}
        """Name in rows → id, or another name of the carrier's own."""
        self.tokens: dict[tuple[str, str], str] = {("right", "session"): self.owner.token}
        """(Caller, `key` or `session`) → token."""
        self.tokens["right", "key"] = self.new_key("sandbox")
        self.sandbox = Customer(self.url, self.token("right", "key"))

    def token(self, caller: str, kind: str) -> str:
        return self.tokens[caller, kind]

    def fill_sandbox(self) -> None:
        """Create one of everything."""
        driver_id = fund_and_register(self.sandbox, 10_000_000)
        self.ids["idempotency_key"] = f"payout of {self.mark}"
        self.ids["driver"], self.ids["spare"] = driver_id, self.sandbox.post(*self.spare()).data["id"]
        paid = self.sandbox.post(*self.payout()).data["id"]
        fails = {"description": "[simulate:fail:BANK_REJECTED]", "loadId": f"failed {self.mark}"}
        failed = [self.sandbox.pay(driver_id, 45_000, **fails)["id"] for _ in range(2)]
        order = batches.batch_body([driver_id] * 3, name=f"Batch {self.mark}")
        batch_id = self.sandbox.post(batches.PATH, order).data["id"]
        scheduled = batches.create_batch(self.sandbox, [driver_id] * 3, scheduledFor=batches.time_from_now(days=300))
        waiting = [payout["id"] for payout in self.sandbox.get(f"{batches.PATH}/{batch_id}").data["payouts"]]
        self.ids |= {"paid": paid, "failed": failed[0], "failed_too": failed[1]}
        self.ids |= {"batch": batch_id, "scheduled": scheduled["id"], "waiting": waiting[0], "waiting_too": waiting[1]}
        for name in ("batch_to_cancel", "batch_to_reschedule"):
            self.ids[name] = batches.create_batch(
                self.sandbox, [driver_id] * 3, scheduledFor=batches.time_from_now(days=300)
            )["id"]
        self.sandbox.until_payout(paid, "completed")
        for payout_id in failed:
            self.sandbox.until_payout(payout_id, "failed")
        self.sandbox.until_verified(self.ids["spare"])
        self.ids["key"] = self.owner.post(*self.key()).body["id"]
        for name in ("key_to_revoke", "key_to_regenerate", "key_to_withdraw"):
            self.new_key("sandbox", name)
        for name in ("key_to_approve", "key_to_reject"):
            self.ids[name] = self._ask_for_key("production", name)["id"]
        # Paystream sends three webhooks for each payment, in any order: the last may follow the final status.
        until(
            lambda: len(self.sandbox.get("/api/v1/webhooks/logs").data["items"]) == 3 * 3, "all webhooks have arrived"
        )
        until(self._nothing_is_due, "no work is due")
        self.ids["log"] = self.sandbox.get("/api/v1/webhooks/logs").data["items"][0]["id"]
        entry = self.owner.get(AUDIT, object_id=paid).data["items"][0]
        self.ids["entry"], self.ids["request"] = entry["id"], entry["request_id"]
        self._fill_webhooks()
        self.ids["line"] = self.sandbox.get("/api/v1/funding/transactions").data["items"][0]["id"]

    def _fill_webhooks(self) -> None:
        """Create webhooks; one is paused, and its event stays pending."""
        for name in ("webhook", "webhook_called", "webhook_to_delete"):
            body = {"url": f"http://127.0.0.1:9/{self.mark}", "events": ["payout.returned"]}
            self.ids[name] = self.sandbox.post(WEBHOOKS, body).data["id"]
        ask(self.url, "PUT", f"{WEBHOOKS}/{self.ids['webhook']}", {"status": "paused"}, self.sandbox.headers)
        self.ids["event"] = self.sandbox.get("/api/v1/events", limit=100).data["items"][-1]["id"]
        path = f"{WEBHOOKS}/{self.ids['webhook']}/deliveries/{self.ids['event']}/redeliver"
        assert self.sandbox.post(path, {}).status == 200

    def spare(self) -> tuple[str, dict[str, str], str]:
        """Return the request that created the driver without payouts: path, body and Idempotency-Key."""
        body = {"ovnDriverId": f"OVN-{self.mark}", "name": f"Ann {self.mark}", "email": f"{self.mark}@drivers.example"}
        return "/api/v1/drivers", body, f"driver of {self.mark}"

    def payout(self, driver_id: str = "") -> tuple[str, dict[str, object], str]:
        """Return the request that made the payout, or the same for another driver."""
        body: dict[str, object] = {
            "driverId": driver_id or self.ids["driver"],
            "amount": 45_000,
            "loadId": f"load of {self.mark}",
        }
        return "/api/v1/payouts", body, self.ids["idempotency_key"]

    def key(self) -> tuple[str, dict[str, object], str]:
        """Return the request that created one of the keys."""
        body: dict[str, object] = {"name": self._named("key"), "mode": "sandbox", "scopes": ["drivers:read"]}
        return KEYS, body, f"key of {self.mark}"

    def create_tokens(self, other: "Carrier") -> None:
        """Create the tokens of all `CALLERS`: revoked or expired ones, of colleagues, and of `other`."""
        unknown = self.new_key("sandbox", "unknown"), self.organization.add("owner")
        self._sql("delete from api_keys where name = %(name)s", name=self._named("unknown"))
        self._end_session(unknown[1], "delete from sessions where")
        self.tokens |= {("unknown", "key"): unknown[0], ("unknown", "session"): unknown[1].token}

        self.tokens["expired", "key"] = self.new_key("sandbox", "expired")
        self._sql("update api_keys set expires_at = now() where name = %(name)s", name=self._named("expired"))
        self.tokens["expired", "session"] = self._ended("expires_at = now()")
        self.tokens["idle", "session"] = self._ended("last_seen_at = now() - interval '121 minutes'")

        self.tokens["revoked", "key"] = self.new_key("sandbox", "revoked")
        self._done("DELETE", f"{KEYS}/{self.ids.pop('revoked')}")
        signed_out = self.organization.add("owner")
        assert signed_out.post("/api/v1/auth/logout", {}).status == 200
        self.tokens["revoked", "session"] = signed_out.token
        self.tokens["replaced", "key"] = self.new_key("sandbox", "replaced")
        self._done("POST", f"{KEYS}/{self.ids.pop('replaced')}/regenerate")

        # A key without an approval has no text yet; even with one it must not work.
        for status in ("pending", "rejected"):
            self.tokens[status, "key"] = self.new_key("production", status)
            self._sql(
                "update api_keys set approval_status = %(status)s where name = %(name)s",
                status=status,
                name=self._named(status),
            )
        for scope in ALL_SCOPES:
            others = tuple(known for known in ALL_SCOPES if known != scope)
            self.tokens[f"without {scope}", "key"] = self.new_key("sandbox", f"without {scope}", others)
        for role in ("viewer", "developer", "admin"):
            self.tokens[role, "session"] = self.organization.add(role).token
        for kind in ("key", "session"):
            self.tokens["other organization", kind] = other.token("right", kind)

    def open_production(self) -> None:
        """Create a production key, and a driver in production."""
        self.tokens["other mode", "key"] = self.new_key("production")
        Customer(self.url, self.token("other mode", "key")).register("Pedro Prod")

    def new_key(self, mode: str, name: str = "right", scopes: tuple[str, ...] = ALL_SCOPES) -> str:
        """Create a key, approved if necessary."""
        made = self._ask_for_key(mode, name, scopes)
        self.ids[name] = made["id"]
        if mode == "sandbox":
            return str(made["key"])
        # by another admin, once the carrier has one
        admin = self.owner if name == "right" else self.organization.add("admin")
        return str(json.loads(self._done("POST", f"{ADMIN}/{made['id']}/approve", admin).text)["key"])

    def sign_in(self) -> Person:
        """Sign in the owner again."""
        return Person(self.url, self.owner.email, self.password)

    def marks(self) -> frozenset[str]:
        """Return the ids and names that no other caller may see."""
        texts = [json.dumps(self.sandbox.get(path, pageSize=100).data) for path in LISTS]
        texts.append(json.dumps(self.sandbox.get(WEBHOOKS).data))
        texts.append(json.dumps(self.sandbox.get("/api/v1/events", limit=100).data["items"]))
        texts.append(json.dumps(self.owner.get(ADMIN, pageSize=100).data))
        names = {self.mark, self.owner.email, self.organization.name}
        return frozenset(names).union(self.tokens.values(), *(_IDS.findall(text) for text in texts))

    def seen(self) -> dict[str, object]:
        """Return what the carrier sees."""
        state = self.sandbox.get("/api/v1/sandbox/state").data
        lists = {path: self.sandbox.get(path, pageSize=100).data["total"] for path in LISTS}
        balance = self.sandbox.balance()
        return {**lists, "state": state, "balance": balance, "keys": self.owner.get(ADMIN).data["total"]}

    def _ask_for_key(self, mode: str, name: str, scopes: tuple[str, ...] = ALL_SCOPES) -> Any:
        body = {"name": self._named(name), "mode": mode, "scopes": scopes, "approval_reason": "The tests' ERP"}
        answer = self.owner.post(KEYS, body)
        assert answer.status == 200, answer
        return answer.body

    def _named(self, name: str) -> str:
        return f"{name} {self.mark}"

    def _done(self, method: str, path: str, person: Person | None = None) -> Got:
        got = ask(self.url, method, path, None, (person or self.owner).headers)
        assert got.status == 200, got
        return got

    def _ended(self, how: str) -> str:
        person = self.organization.add("owner")
        self._end_session(person, f"update sessions set {how} where")
        return person.token

    def _end_session(self, person: Person, statement: str) -> None:
        self._sql(f"{statement} user_id = (select id from users where email = %(email)s)", email=person.email)

    def _sql(self, statement: str, **parameters: object) -> None:
        self.organization.execute(statement, **parameters)

    def _nothing_is_due(self) -> bool:
        with psycopg.connect(self._stack["database_url"]) as connection:
            wallet = "select id from wallets where organization_id = %s and mode = 'sandbox' and retired_at is null"
            (wallet_id,) = connection.execute(wallet, [self.organization.id]).fetchone() or (None,)
            return bool((connection.execute(_NOTHING_IS_DUE, {"id": wallet_id}).fetchone() or [False])[0])


class Rows:
    """Every row of a carrier: of its sandbox wallet, keys, users and sessions."""

    def __init__(self, connection: "psycopg.Connection[Any]", carrier: Carrier) -> None:
        self._connection = connection
        of = "organization_id = %(id)s"
        wallets = f"wallet_id in (select id from wallets where {of} and mode = 'sandbox')"
        named = "select table_name from information_schema.columns where column_name = 'wallet_id'"
        tables = {str(table): wallets for (table,) in connection.execute(named).fetchall()}
        # Sums that the scheduler updates at any time
        tables = {table: where for table, where in tables.items() if not table.startswith("analytics_")}
        tables["api_keys"] = f"wallet_id in (select id from wallets where {of})"
        tables["idempotency_keys"] += f" or wallet_id in (select id from users where {of})"  # of a signed-in user
        tables["audit_entries"] = f"{of} and (wallet_id is null or {wallets})"
        tables |= {"wallets": of, "users": of, "sessions": f"user_id in (select id from users where {of})"}
        uses = ", ".join(f"'{name}'" for name in _USES)
        self._statement = " union all ".join(
            f"select '{table}', count(*), md5(string_agg(line, '' order by line)) from ("
            f"select (to_jsonb({table}) - array[{uses}])::text as line from {table} where {where}) of_{table}"
            for table, where in tables.items()
        )
        self._id = carrier.organization.id

    def now(self) -> dict[str, tuple[int, str]]:
        """Return the count and a checksum of the rows of each table."""
        found = self._connection.execute(self._statement, {"id": self._id}).fetchall()
        return {table: (count, digest) for table, count, digest in found}


def ask(
    url: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, **query: str
) -> Got:
    """Send a request; the response need not be JSON."""
    address = urlsplit(url)
    assert address.hostname
    target = f"{path}?{urlencode(query)}" if query else path
    content = b"" if body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.request(method, target, content, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        return Got(response.status, response.headers, text, f"{path} {query} {content.decode()}")
    finally:
        connection.close()


def unknown_id_like(name: str) -> str:
    """Return an unknown id that differs in one character."""
    return name[:-1] + ("1" if name.endswith("0") else "0")
