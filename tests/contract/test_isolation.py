"""Isolation: every route, called by every caller that it is not for.

Each route has a row here, written after the API reference and not after the code: who may call it, and how. A route
without a row fails, and so does a query parameter, or an id in a body, that its row does not know. Each route is called
as it should be, with the owner's ids, by every caller of `callers.CALLERS`:

- unknown callers get the same 401, to the byte;
- known callers without the permission get 403, naming what they lack;
- callers of another organization or mode get what they would get for ids that don't exist: 404, an item error, an
  empty list.

No response has anything of the owner's in it, and after each call all of the owner's rows are unchanged.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gateway.app import create_app
from gateway.routes import ROUTES, UNKNOWN_PATH
from shared.platform.settings import Settings
from tests.contract.callers import CALLERS, Caller, Carrier, Got, Rows, ask, unknown_id_like
from tests.contract.customers import run_concurrently, with_key
from tests.support import provider_webhooks
from tests.support.customer import Customer
from tests.support.report_lines import report
from tests.support.stack import Stack

ALL_ROLES = frozenset({"owner", "admin", "developer", "viewer"})
EDITORS = ALL_ROLES - {"viewer"}
ADMINS = frozenset({"owner", "admin"})


@dataclass(frozen=True)
class Row:
    """How to call a route. `{name}` stands for what a `Carrier` calls so, `{new}` for something new."""

    access: str | frozenset[str] | None
    """The scope, the roles, or None for a public route; `open` has the reason."""
    open: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    unknown: str = ""
    """The code of the 404 where an id in the path or the body is unknown."""
    unknown_items: str = ""
    """The code of an item's error in a 200, where an id in the body is unknown."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Query parameters with ids of the owner's, which must find nothing for others."""
    cursor: str = ""
    """An id that is a cursor of this list."""
    shows: str = ""
    """What the owner's response contains."""
    sandbox_only: bool = False
    mine: bool = False
    """Whether it is about what the user has made, not about the organization's."""
    signed: bool = False
    status: int = 200
    """Of a successful response."""

    @property
    def kind(self) -> str:
        """The credential of a caller: `key` or `session`; a key for a public route too."""
        return "session" if isinstance(self.access, frozenset) else "key"


HUNDRED = {"pageSize": "100"}
PAYOUT = {"driverId": "{driver}", "amount": 45_000, "loadId": "L-12345"}
DRIVER = {"ovnDriverId": "OVN-{new}", "name": "John Smith", "email": "{new}@drivers.example", "phone": "+15551234567"}
ROWS: dict[tuple[str, str], Row] = {
    ("GET", "/"): Row(None, open="documentation", status=302),
    ("GET", "/health"): Row(None, open="load balancers"),
    ("GET", "/health/live"): Row(None, open="supervisors"),
    ("GET", "/health/ready"): Row(None, open="load balancers"),
    ("GET", "/openapi.json"): Row(None, open="documentation"),
    ("GET", "/docs"): Row(None, open="documentation"),
    ("GET", "/docs/{file}"): Row(None, open="documentation", path={"file": "start.js"}),
    ("GET", "/api/v1/drivers"): Row("drivers:read", query=HUNDRED, cursor="{driver}", shows="{driver}"),
    ("POST", "/api/v1/drivers"): Row("drivers:write", body=DRIVER),
    ("POST", "/api/v1/drivers/bulk"): Row("drivers:write", body={"drivers": [DRIVER]}),
    ("GET", "/api/v1/drivers/{id}"): Row(
        "drivers:read", path={"id": "{driver}"}, unknown="DRIVER_NOT_FOUND", shows="{driver}"
    ),
    ("PUT", "/api/v1/drivers/{id}"): Row(
        "drivers:write", path={"id": "{driver}"}, body={"name": "Jane Doe"}, unknown="DRIVER_NOT_FOUND"
    ),
    ("DELETE", "/api/v1/drivers/{id}"): Row("drivers:write", path={"id": "{spare}"}, unknown="DRIVER_NOT_FOUND"),
    ("GET", "/api/v1/drivers/{id}/payouts"): Row(
        "drivers:read",
        path={"id": "{driver}"},
        query=HUNDRED,
        cursor="{paid}",
        unknown="DRIVER_NOT_FOUND",
        shows="{paid}",
    ),
    ("GET", "/api/v1/payouts"): Row(
        "payouts:read",
        query=HUNDRED,
        filters={"driverId": "{driver}", "idempotencyKey": "{idempotency_key}"},
        cursor="{paid}",
        shows="{paid}",
    ),
    ("POST", "/api/v1/payouts"): Row("payouts:write", body=PAYOUT, unknown="DRIVER_NOT_FOUND"),
    ("POST", "/api/v1/payouts/instant"): Row("payouts:write", body=PAYOUT, unknown="DRIVER_NOT_FOUND"),
    ("GET", "/api/v1/payouts/instant/fee"): Row("payouts:read", query={"amount": "50000"}),
    ("POST", "/api/v1/payouts/bulk"): Row(
        "payouts:write", body={"payouts": [PAYOUT, PAYOUT]}, unknown_items="DRIVER_NOT_FOUND"
    ),
    ("POST", "/api/v1/payouts/bulk/cancel"): Row(
        "payouts:write", body={"payoutIds": ["{waiting}"]}, unknown_items="PAYOUT_NOT_FOUND"
    ),
    ("POST", "/api/v1/payouts/bulk/retry"): Row(
        "payouts:write", body={"payoutIds": ["{failed}"]}, unknown_items="PAYOUT_NOT_FOUND"
    ),
    ("GET", "/api/v1/payouts/{id}"): Row(
        "payouts:read", path={"id": "{paid}"}, unknown="PAYOUT_NOT_FOUND", shows="{paid}"
    ),
    ("GET", "/api/v1/payouts/{id}/timeline"): Row(
        "payouts:read", path={"id": "{paid}"}, unknown="PAYOUT_NOT_FOUND", shows="{paid}"
    ),
    ("POST", "/api/v1/payouts/{id}/cancel"): Row(
        "payouts:write", path={"id": "{waiting_too}"}, unknown="PAYOUT_NOT_FOUND"
    ),
    ("POST", "/api/v1/payouts/{id}/retry"): Row(
        "payouts:write", path={"id": "{failed_too}"}, unknown="PAYOUT_NOT_FOUND"
    ),
    ("GET", "/api/v1/batches"): Row("batches:read", query=HUNDRED, cursor="{batch}", shows="{batch}"),
    ("POST", "/api/v1/batches"): Row(
        "batches:write", body={"name": "Weekly Payouts", "payouts": [PAYOUT, PAYOUT]}, unknown="DRIVER_NOT_FOUND"
    ),
    ("GET", "/api/v1/batches/{id}"): Row(
        "batches:read", path={"id": "{batch}"}, unknown="BATCH_NOT_FOUND", shows="{waiting}"
    ),
    ("POST", "/api/v1/batches/{id}/release"): Row("batches:write", path={"id": "{batch}"}, unknown="BATCH_NOT_FOUND"),
    ("POST", "/api/v1/batches/{id}/run"): Row("batches:write", path={"id": "{scheduled}"}, unknown="BATCH_NOT_FOUND"),
    ("POST", "/api/v1/batches/quote"): Row(
        "batches:write", body={"name": "Weekly Payouts", "payouts": [PAYOUT, PAYOUT]}, unknown="DRIVER_NOT_FOUND"
    ),
    ("GET", "/api/v1/batches/{id}/payouts"): Row(
        "batches:read",
        path={"id": "{batch}"},
        query=HUNDRED,
        cursor="{waiting}",
        unknown="BATCH_NOT_FOUND",
        shows="{waiting}",
    ),
    ("POST", "/api/v1/batches/{id}/cancel"): Row(
        "batches:write", path={"id": "{batch_to_cancel}"}, unknown="BATCH_NOT_FOUND"
    ),
    ("POST", "/api/v1/batches/{id}/reschedule"): Row(
        "batches:write",
        path={"id": "{batch_to_reschedule}"},
        body={"scheduledFor": None},
        unknown="BATCH_NOT_FOUND",
    ),
    ("POST", "/api/v1/batches/{id}/retry-failed"): Row(
        "batches:write", path={"id": "{batch}"}, unknown="BATCH_NOT_FOUND"
    ),
    ("GET", "/api/v1/scheduled-payouts"): Row(
        "batches:read", query=HUNDRED, cursor="{scheduled}", shows="{scheduled}"
    ),
    ("GET", "/api/v1/scheduled-payouts/stats"): Row("batches:read"),
    ("GET", "/api/v1/balance"): Row("balance:read"),
    ("POST", "/api/v1/funding/topup"): Row("funding:write", body={"amount": 500_000, "method": "bank_transfer"}),
    ("GET", "/api/v1/funding/transactions"): Row("balance:read", query=HUNDRED, cursor="{line}", shows="{paid}"),
    ("GET", "/api/v1/funding/projection"): Row("balance:read"),
    ("GET", "/api/v1/analytics/summary"): Row("analytics:read"),
    ("GET", "/api/v1/analytics/timeseries"): Row("analytics:read"),
    ("GET", "/api/v1/analytics/drivers"): Row("analytics:read", query=HUNDRED, shows="{driver}"),
    ("GET", "/api/v1/analytics/rails"): Row("analytics:read"),
    ("GET", "/api/v1/analytics/failures"): Row("analytics:read"),
    ("POST", "/api/v1/webhooks/paystream"): Row(
        None, open="Paystream, which signs", body={"id": "evt_{new}", "type": "batch.completed"}, signed=True
    ),
    ("GET", "/api/v1/webhooks/logs"): Row("webhooks:manage", query=HUNDRED, cursor="{log}", shows="{log}"),
    ("GET", "/api/v1/webhooks"): Row("webhooks:manage", shows="{webhook}"),
    ("POST", "/api/v1/webhooks"): Row(
        "webhooks:manage", body={"url": "https://hooks.example.com/{new}", "events": ["payout.succeeded"]}
    ),
    ("GET", "/api/v1/webhooks/{id}"): Row(
        "webhooks:manage", path={"id": "{webhook}"}, unknown="WEBHOOK_NOT_FOUND", shows="{webhook}"
    ),
    ("PUT", "/api/v1/webhooks/{id}"): Row(
        "webhooks:manage",
        path={"id": "{webhook}"},
        body={"url": "https://hooks.example.com/{new}"},
        unknown="WEBHOOK_NOT_FOUND",
    ),
    ("DELETE", "/api/v1/webhooks/{id}"): Row(
        "webhooks:manage", path={"id": "{webhook_to_delete}"}, unknown="WEBHOOK_NOT_FOUND"
    ),
    ("POST", "/api/v1/webhooks/{id}/test"): Row(
        "webhooks:manage", path={"id": "{webhook_called}"}, unknown="WEBHOOK_NOT_FOUND"
    ),
    ("POST", "/api/v1/webhooks/{id}/rotate-secret"): Row(
        "webhooks:manage", path={"id": "{webhook}"}, body={"gracePeriodHours": 1}, unknown="WEBHOOK_NOT_FOUND"
    ),
    ("POST", "/api/v1/webhooks/{id}/redeliver"): Row(
        "webhooks:manage", path={"id": "{webhook}"}, body={"since": "{hour_ago}"}, unknown="WEBHOOK_NOT_FOUND"
    ),
    ("GET", "/api/v1/webhooks/{id}/deliveries"): Row(
        "webhooks:manage",
        path={"id": "{webhook}"},
        query=HUNDRED,
        cursor="{event}",
        unknown="WEBHOOK_NOT_FOUND",
        shows="{event}",
    ),
    ("POST", "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver"): Row(
        "webhooks:manage", path={"id": "{webhook}", "delivery": "{event}"}, unknown="WEBHOOK_NOT_FOUND"
    ),
    ("GET", "/api/v1/events"): Row("webhooks:manage", query={"limit": "100"}, shows="{event}"),
    ("POST", "/api/v1/auth/login"): Row(
        None, open="who signs in has no session yet", body={"email": "{email}", "password": "{password}"}
    ),
    ("POST", "/api/v1/auth/logout"): Row(ALL_ROLES),
    ("GET", "/api/v1/auth/me"): Row(ALL_ROLES, shows="{email}"),
    ("GET", "/api/v1/developer/keys"): Row(ALL_ROLES, shows="{key}"),
    ("POST", "/api/v1/developer/keys"): Row(
        EDITORS, body={"name": "Integration", "mode": "sandbox", "scopes": ["drivers:read"]}
    ),
    ("GET", "/api/v1/developer/keys/{id}"): Row(
        ALL_ROLES, path={"id": "{key}"}, unknown="KEY_NOT_FOUND", shows="{key}", mine=True
    ),
    ("DELETE", "/api/v1/developer/keys/{id}"): Row(
        EDITORS, path={"id": "{key_to_revoke}"}, unknown="KEY_NOT_FOUND", mine=True
    ),
    ("POST", "/api/v1/developer/keys/{id}/regenerate"): Row(
        EDITORS, path={"id": "{key_to_regenerate}"}, unknown="KEY_NOT_FOUND", mine=True
    ),
    ("GET", "/api/v1/developer/scopes"): Row(ALL_ROLES),
    ("GET", "/api/v1/admin/api-keys"): Row(ADMINS, query=HUNDRED, cursor="{key}", shows="{key}"),
    ("GET", "/api/v1/admin/api-keys/pending"): Row(ADMINS, shows="{key_to_approve}"),
    ("GET", "/api/v1/admin/api-keys/{id}"): Row(
        ADMINS, path={"id": "{key}"}, unknown="KEY_NOT_FOUND", shows="{key}"
    ),
    ("POST", "/api/v1/admin/api-keys/{id}/approve"): Row(
        ADMINS, path={"id": "{key_to_approve}"}, unknown="KEY_NOT_FOUND"
    ),
    ("POST", "/api/v1/admin/api-keys/{id}/reject"): Row(
        ADMINS, path={"id": "{key_to_reject}"}, body={"reason": "Why?"}, unknown="KEY_NOT_FOUND"
    ),
    ("DELETE", "/api/v1/admin/api-keys/{id}"): Row(
        ADMINS, path={"id": "{key_to_withdraw}"}, unknown="KEY_NOT_FOUND"
    ),
    ("GET", "/api/v1/admin/audit"): Row(
        ADMINS,
        query=HUNDRED,
        filters={"actor": "{right}", "object_id": "{paid}", "request_id": "{request}"},
        cursor="{entry}",
        shows="{paid}",
    ),
    ("POST", "/api/v1/sandbox/reset"): Row("payouts:write", sandbox_only=True),
    ("GET", "/api/v1/sandbox/state"): Row("payouts:read", sandbox_only=True, shows="{paid}"),
    ("POST", "/api/v1/sandbox/seed"): Row("payouts:write", sandbox_only=True),
}  # fmt: skip
ROUTE_NAMES = [(route.method, route.path) for route in ROUTES]
NOT_AUDITED = {
    ("POST", "/api/v1/webhooks/paystream"),  # no user of an organization
    ("POST", "/api/v1/batches/quote"),  # changes nothing
}
# Query parameters without ids, and fields with names that the customer chooses
PLAIN = {"page", "pageSize", "cursor", "status", "type", "event", "mode", "amount", "days", "format", "action", "from"}
PLAIN |= {"to", "interval", "rail", "sort", "after", "types", "limit", "wait"}
CUSTOMERS_OWN_NAMES = {"ovnDriverId", "loadId"}
# Headers that differ between equal responses
OF_THE_MOMENT = {"date", "x-request-id", "content-length", "x-ratelimit-reset", "x-ratelimit-remaining"}


def expected(row: Row, caller: Caller) -> str | None:
    """The expected response; None if the caller may call the route, or does not exist for it."""
    if row.access is None:
        return "public" if caller.key and caller.kind != "lacking" else None
    if not (caller.session if row.kind == "session" else caller.key):
        return None
    if caller.kind == "colleague":
        if caller.name not in row.access:
            return "not allowed"
        return "unknown" if row.mine else None
    if caller.name == "other mode" and row.sandbox_only:
        return "sandbox only"
    return {"refused": "refused", "lacking": "not allowed", "foreign": "unknown"}[caller.kind]


MATRIX = [
    pytest.param(name, caller, what, id=f"{' '.join(name)} · {caller.name}")
    for name in ROUTE_NAMES
    for caller in CALLERS
    if name in ROWS and (what := expected(ROWS[name], caller))
]


class Matrix:
    """The owner, the other organization, a twin of the owner whose calls are allowed, and the results so far."""

    def __init__(self, stack: Stack, connection: "psycopg.Connection[Any]") -> None:
        self.url = str(stack["gateway"])
        self.secret = str(stack["webhook_secret"])
        self.other, self.owner, self.twin = Carrier(stack), Carrier(stack), Carrier(stack)
        self.owner.open_production()
        run_concurrently(self.other.fill_sandbox, self.owner.fill_sandbox, self.twin.fill_sandbox)
        self.owner.create_tokens(self.other)
        self.marks = self.owner.marks()
        self.seen = self.owner.seen()
        self.connection = connection
        self.rows = Rows(connection, self.owner)
        self.before = self.rows.now()
        # The response without a credential, for routes with keys and with sessions
        self.nobody = {
            "key": ask(self.url, "GET", "/api/v1/drivers"),
            "session": ask(self.url, "GET", "/api/v1/auth/me"),
        }
        self.calls = 0
        self.tried: set[tuple[str, ...]] = set()
        self.passed: set[tuple[str, ...]] = set()

    @contextlib.contextmanager
    def cell(self, *name: str) -> Iterator[None]:
        """Run one cell of the matrix; at its end the owner's rows must be unchanged."""
        self.tried.add(name)
        try:
            yield
        finally:  # a change counts for one cell only
            before, self.before = self.before, self.rows.now()
        changed = {table for table in before if before[table] != self.before[table]}
        assert not changed, f"the owner's rows have changed in {changed}"
        self.passed.add(name)

    def call(self, name: tuple[str, str], caller: Caller, values: Mapping[str, str], **query: str) -> Got:
        """Call the route; assert that nothing of the owner's comes back."""
        self.calls += 1
        got = call(self.url, name, self.credentials(name, caller), values, self.secret, **query)
        leaked = [mark for mark in self.marks if mark in got.text and mark not in got.sent]
        assert not leaked, f"{leaked} came back: {got}"
        return got

    def is_audited(self, got: Got) -> bool:
        """Whether the audit log has an entry of the request."""
        known = "select from audit_entries where request_id = %s"
        return bool(self.connection.execute(known, [got.headers["X-Request-Id"]]).rowcount)

    def credentials(self, name: tuple[str, str], caller: Caller) -> dict[str, str]:
        """Return the header of the caller for this route."""
        row = ROWS[name]
        right = self.owner.token("right", row.kind)
        if caller.name == "no key":
            return {}
        if name[1].endswith("/logout") and caller.kind == "foreign":
            return {"Authorization": f"Bearer {self.other.sign_in().token}"}  # the other token is needed again
        made_up = {
            "empty key": "Bearer",
            "key without Bearer": right,
            "key as Basic": f"Basic {right}",
            "wrong form": "Bearer not-a-key",
            "bad checksum": f"Bearer {unknown_id_like(right)}",
        }
        if caller.name in made_up:
            return {"Authorization": made_up[caller.name]}
        kind, who = row.kind, caller.name
        if caller.name == "session for key, key for session":
            kind, who = ("key" if kind == "session" else "session"), "right"
        elif caller.kind == "lacking":
            who = f"without {row.access}"
        return {"Authorization": f"Bearer {self.owner.token(who, kind)}"}


def call(
    url: str, name: tuple[str, str], headers: Mapping[str, str], values: Mapping[str, str], secret: str, **query: str
) -> Got:
    """Call a route as its row says."""
    row, (method, path) = ROWS[name], name
    for parameter, value in row.path.items():
        path = path.replace(f"{{{parameter}}}", filled(value, values))
    body = None if row.body is None else json.loads(filled(json.dumps(row.body), values))
    if row.signed:
        headers = {**headers, "X-Signature": provider_webhooks.signature(json.dumps(body).encode(), secret)}
    return ask(url, method, path, body, headers, **row.query, **query)


def filled(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def values_of(carrier: Carrier, ids: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the values of the names in rows for a carrier, or with other ids."""
    own = {"email": carrier.owner.email, "password": carrier.password, "new": uuid.uuid4().hex}
    own["hour_ago"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    return {**(carrier.ids if ids is None else ids), **own}


def unknown_ids(carrier: Carrier) -> dict[str, str]:
    return {name: unknown_id_like(own) for name, own in carrier.ids.items()}


def said(got: Got, values: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body, with names in place of these values."""
    headers = {name: value for name, value in got.headers.items() if name.lower() not in OF_THE_MOMENT}
    text = json.dumps(got.body)
    for name, value in values.items():
        text = text.replace(value, f"{{{name}}}")
    return got.status, headers, text


@pytest.fixture(scope="module")
def matrix(fast_stack: Stack) -> Iterator[Matrix]:
    with psycopg.connect(fast_stack["database_url"], autocommit=True) as connection:
        yield Matrix(fast_stack, connection)


def test_rows_and_routes_match() -> None:
    assert set(ROWS) == set(ROUTE_NAMES)
    assert len(ROUTE_NAMES) == len(set(ROUTE_NAMES))


def test_rows_and_routes_agree_on_access() -> None:
    assert {(route.method, route.path): route.access for route in ROUTES} == {
        name: row.access for name, row in ROWS.items()
    }
    # and every public route has a reason
    assert [name for name, row in ROWS.items() if (row.access is None) != bool(row.open)] == []


def test_router_serves_only_the_route_table() -> None:
    # Given the application, not started
    application = create_app(Settings(database_url="postgresql://localhost/none", redis_url="redis://localhost"))
    # Then its router has the routes of the table, and the catch-all
    served = {(route.method, route.resource.canonical) for route in application.router.routes() if route.resource}
    assert served == {*ROUTE_NAMES, ("*", UNKNOWN_PATH)}


def test_rows_name_every_parameter_and_id(fast_stack: Stack) -> None:
    # Given the OpenAPI document
    document = json.loads(ask(fast_stack["gateway"], "GET", "/openapi.json").text)
    undeclared = []
    for (method, path), row in ROWS.items():
        operation = document["paths"].get(path, {}).get(method.lower(), {})
        assert operation or not path.startswith("/api/"), f"{method} {path} is not documented"
        # Then each query parameter is a filter of the row, or has no id
        parameters = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        undeclared += [(path, name) for name in parameters - PLAIN - row.filters.keys()]
        assert bool(row.cursor) == ("cursor" in parameters), f"{path} and its cursor"
        # and each id in body and path is in the row
        names = {name for name in fields_of(operation.get("requestBody"), document) if re.search("[iI]ds?$", name)}
        undeclared += [(path, name) for name in names - CUSTOMERS_OWN_NAMES if f'"{name}"' not in json.dumps(row.body)]
        takes_ids = bool(names - CUSTOMERS_OWN_NAMES) or "{id}" in path
        assert takes_ids == bool(row.unknown or row.unknown_items), f"{path} and its ids"
    assert undeclared == []


def fields_of(schema: Any, document: Any) -> Iterator[str]:
    """Yield the names of all fields in a part of the document."""
    if isinstance(schema, list):
        for one in schema:
            yield from fields_of(one, document)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from fields_of(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    yield from schema.get("properties", ())
    for value in schema.values():
        yield from fields_of(value, document)


@pytest.mark.parametrize(("name", "caller", "what"), MATRIX)
def test_matrix(matrix: Matrix, name: tuple[str, str], caller: Caller, what: str) -> None:
    row, owner = ROWS[name], matrix.owner
    unknown = unknown_ids(owner)
    with matrix.cell(*name, caller.name):
        if what == "public":
            got = matrix.call(name, caller, values_of(matrix.other))
            assert got.status == row.status, got
            return
        got = matrix.call(name, caller, values_of(owner))
        if what == "refused":
            assert (got.status, got.body["error"]["code"]) == (401, "UNAUTHORIZED"), got
            assert said(got, {}) == said(matrix.nobody[row.kind], {})
            assert "WWW-Authenticate" in got.headers
        elif what == "not allowed":
            lacks = {"scope": row.access} if row.kind == "key" else {"role": caller.name}
            error = got.body["error"]
            assert (got.status, error["code"], error["details"]) == (403, "FORBIDDEN", lacks), got
        elif what == "sandbox only":
            assert (got.status, got.body["error"]["code"]) == (403, "SANDBOX_ONLY"), got
        else:
            is_unknown(row, got)
            for parameter, value in row.filters.items():
                finds_nothing(matrix, name, caller, parameter, value)
            if row.cursor and not row.unknown:
                theirs, unknown_ = (
                    matrix.call(name, caller, values_of(owner), cursor=filled(row.cursor, ids))
                    for ids in (owner.ids, unknown)
                )
                assert theirs.status == 200
                assert said(theirs, owner.ids) == said(unknown_, unknown)
        # In any case the response equals the one for ids that don't exist
        if row.unknown or row.unknown_items:
            other = matrix.call(name, caller, values_of(owner, unknown))
            assert said(got, owner.ids) == said(other, unknown)


def is_unknown(row: Row, got: Got) -> None:
    """Assert that the ids in a path or a body were unknown; what names none is answered for the caller's own wallet."""
    if not row.unknown:
        assert got.status == 200, got
        results = got.body["data"]["results"] if row.unknown_items else []
        assert [result.get("code") for result in results] == [row.unknown_items] * len(results), got
        assert bool(results) == bool(row.unknown_items)
        return
    error = got.body["error"]
    assert (got.status, error["code"]) == (404, row.unknown), got
    items = error.get("details", {}).get("items", [])
    assert {item["code"] for item in items} <= {row.unknown}, got


def finds_nothing(matrix: Matrix, name: tuple[str, str], caller: Caller, parameter: str, value: str) -> None:
    """Assert that a filter by an id of the owner's finds as little as one by an unknown id."""
    owner, unknown = matrix.owner, unknown_ids(matrix.owner)
    theirs, unknown_ = (
        matrix.call(name, caller, values_of(owner), **{parameter: filled(value, ids)}) for ids in (owner.ids, unknown)
    )
    data = theirs.body["data"]
    assert (theirs.status, data["items"], data["total"], data["hasNextPage"]) == (200, [], 0, False)
    assert said(theirs, owner.ids) == said(unknown_, unknown)


@pytest.mark.parametrize(
    "caller", [caller for caller in CALLERS if caller.key and caller.kind != "lacking"], ids=lambda caller: caller.name
)
def test_no_key_replaces_the_providers_signature(matrix: Matrix, caller: Caller) -> None:
    # Given the provider's endpoint, and an event about a payout of the owner's
    name = "POST", provider_webhooks.PATH
    body = {"event": "payout.failed", "data": {"payoutId": matrix.owner.ids["paid"], "amount": 45_000}}
    with matrix.cell(*name, caller.name, "unsigned"):
        # When it is sent with a key instead of a signature
        got = ask(matrix.url, *name, body, matrix.credentials(name, caller))
        matrix.calls += 1
        # Then it is rejected with any key
        assert (got.status, got.body["error"]["code"]) == (401, "INVALID_SIGNATURE")
        assert said(got, {}) == said(ask(matrix.url, *name, body), {})


@pytest.mark.parametrize("foreign", ["other organization", "other mode"])
def test_names_of_the_owner_are_free_in_another_wallet(matrix: Matrix, foreign: str) -> None:
    # Given a customer of another wallet
    customer = Customer(matrix.url, matrix.owner.token(foreign, "key"))
    with matrix.cell("names", foreign):
        # When it creates the owner's driver with the owner's Idempotency-Key
        answer = customer.post(*matrix.owner.spare())
        # Then it is another driver, not a replay
        assert answer.data["id"] != matrix.owner.ids["spare"]
        assert "Idempotent-Replayed" not in answer.headers
        # When it pays for a load that the owner has paid for, with the same key
        if foreign == "other organization":
            driver_id = customer.until_verified(answer.data["id"])["id"]
            answer = customer.post(*matrix.owner.payout(driver_id))
            # Then it is another payout, not a duplicate
            assert answer.data["id"] != matrix.owner.ids["paid"]
            assert "Idempotent-Replayed" not in answer.headers
            assert not answer.data.get("warnings")
            # When its owner requests a key as the owner did, then it is another key
            answer = with_key(customer, matrix.other.token("right", "session")).post(*matrix.owner.key())
            assert answer.status == 200
            assert answer.body["key"]
            assert answer.body["id"] != matrix.owner.ids["key"]


def test_owner_is_unchanged_after_all_calls(matrix: Matrix) -> None:
    wrong = matrix.tried - matrix.passed
    outcome = "all as expected" if not wrong else f"{len(wrong)} cells of {len(matrix.tried)} not as expected"
    report(f"{len(ROUTES)} routes \N{MULTIPLICATION SIGN} {len(CALLERS)} callers: {matrix.calls} calls, {outcome}")
    # Then the owner sees the same as before
    assert matrix.owner.seen() == matrix.seen
    assert matrix.owner.marks() == matrix.marks


def test_calls_succeed_for_the_owner_until_the_sandbox_reset(matrix: Matrix) -> None:
    # Given another carrier like the owner, with the right key
    carrier = matrix.twin

    def called(name: tuple[str, str], **query: str) -> Got:
        token = carrier.token("right", ROWS[name].kind)
        if name[1].endswith("/logout"):
            token = carrier.sign_in().token
        headers = {"Authorization": f"Bearer {token}"} if ROWS[name].access else {}
        return call(carrier.url, name, headers, values_of(carrier), matrix.secret, **query)

    # When each route is called as its row says, reads first, then changes
    for name in sorted(ROWS, key=lambda name: (name[0] != "GET", name[1].endswith("/reset"))):
        row, got = ROWS[name], called(name)
        # Then it succeeds, with what the row says
        assert got.status == row.status, got
        assert filled(row.shows, values_of(carrier)) in got.text
        # and every change has an entry in the audit log
        assert matrix.is_audited(got) == (name[0] != "GET" and name not in NOT_AUDITED), f"{name} and the audit log"
        if row.unknown_items:
            assert got.body["data"]["failed"] == 0, got
        for parameter, value in row.filters.items():
            assert called(name, **{parameter: filled(value, carrier.ids)}).body["data"]["items"], f"{name} {parameter}"
    # And after the reset, the last call, the same key finds nothing of the old wallet
    for name, row in ((name, row) for name, row in ROWS.items() if row.kind == "key"):
        if row.unknown or row.unknown_items:
            is_unknown(row, called(name))
        for parameter, value in row.filters.items():
            assert called(name, **{parameter: filled(value, carrier.ids)}).body["data"]["items"] == []
