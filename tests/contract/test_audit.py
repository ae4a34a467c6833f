"""The audit log over HTTP: who did what, with old and new values, visible to the organization's admins only.

`test_isolation` checks that every endpoint with a change writes an entry.
"""

import json
import os
import subprocess
import sys
import uuid
from typing import Any

from tests.contract.callers import AUDIT
from tests.contract.customers import send
from tests.support import batches
from tests.support.customer import Customer
from tests.support.organization import Organization, create_key
from tests.support.polling import until
from tests.support.stack import Stack

BANK = {"accountNumber": "000123456789", "routingNumber": "021000021"}


def _entries(owner: Customer, **query: object) -> list[Any]:
    return list(owner.get(AUDIT, **query).data["items"])


def _change(entry: Any) -> tuple[Any, ...]:
    return entry["action"], entry["object_id"], entry["before"], entry["after"]


def test_driver_changes_are_logged_without_personal_data(organization: Organization) -> None:
    # Given a driver registered and updated with an API key
    program, owner = organization.sandbox(), organization.owner
    driver_id = program.register("John Smith", "john@drivers.example")["id"]
    path = f"/api/v1/drivers/{driver_id}"
    body = {"name": "Jane Doe", "email": "jane@drivers.example", "phone": None, "status": "inactive"}
    changed = send(program, "PUT", path, {**body, "bankAccount": BANK})
    assert changed.status == 200
    assert send(program, "PUT", f"{path[:-1]}!", body).status == 404
    # When the driver is deleted
    assert send(program, "DELETE", path).status == 200
    # Then the log has each change, with personal data masked
    deleted, updated, registered = _entries(owner, object_id=driver_id)
    assert _change(deleted) == ("driver.delete", driver_id, {"status": "inactive"}, {"status": "inactive"})
    assert (updated["action"], updated["before"]["status"]) in {
        ("driver.update", "invited"),
        ("driver.update", "pending"),
        ("driver.update", "active"),
    }
    hidden = {"name": "***", "email": "***"}
    assert updated["before"].items() >= {**hidden, "phone": "***"}.items()
    assert updated["after"].items() >= {**hidden, "phone": None, "status": "inactive", "bankAccount": "***"}.items()
    assert registered["after"].keys() == {"ovnDriverId", "status"}
    # and the actor, the address and the request
    [key] = owner.get("/api/v1/developer/keys").body["keys"]
    assert (updated["actor_kind"], updated["key_id"], updated["user"]) == ("key", key["id"], None)
    assert (updated["address"], updated["mode"]) == ("127.0.0.1", "sandbox")
    assert updated["request_id"] == changed.body["meta"]["requestId"]
    # and no personal data anywhere
    log = json.dumps([_change(entry) for entry in _entries(owner, pageSize=100)])
    words = ("Jane", "John", "drivers.example", BANK["accountNumber"], BANK["routingNumber"], "15551234567")
    assert [word for word in words if word in log] == []


def test_cancel_is_logged_once_for_each_payout_and_not_for_its_replay(
    carrier: Customer, carrier_organization: Organization, three_drivers: list[str]
) -> None:
    # Given a queued batch
    owner, mark = carrier_organization.owner, uuid.uuid4().hex
    batch = batches.create_batch(carrier, three_drivers)
    payouts = carrier.get(f"{batches.PATH}/{batch['id']}").data["payouts"]
    # When one of its payouts is canceled twice under one idempotency key, and the others in bulk
    one, *others = [payout["id"] for payout in payouts]
    first = carrier.post(f"/api/v1/payouts/{one}/cancel", {}, mark)
    again = carrier.post(f"/api/v1/payouts/{one}/cancel", {}, mark)
    assert (first.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert carrier.post("/api/v1/payouts/bulk/cancel", {"payoutIds": [*others, one]}).data["succeeded"] == 2
    # Then each has one entry
    for payout_id in (one, *others):
        [entry] = _entries(owner, object_id=payout_id)
        assert _change(entry) == ("payout.cancel", payout_id, {"status": "validated"}, {"status": "canceled"})
    assert _entries(owner, request_id=again.body["meta"]["requestId"])[0]["object_id"] == one
    [created] = _entries(owner, object_id=batch["id"])
    assert (created["action"], created["after"]["payoutCount"], created["after"]["totalAmount"]) == (
        "batch.create",
        3,
        135_000,
    )


def test_key_request_approval_and_revocation_are_logged(organization: Organization, fast_stack: Stack) -> None:
    # Given a production key that a developer requests, and an owner approves and revokes
    developer, owner = organization.add("developer"), organization.owner
    key_id = create_key(developer, "production")["id"]
    approved = owner.post(f"/api/v1/admin/api-keys/{key_id}/approve", {})
    assert send(owner, "DELETE", f"/api/v1/admin/api-keys/{key_id}").status == 200
    # Then the log has all three actions
    revoked, decided, asked = _entries(owner, object_id=key_id)
    assert (asked["action"], asked["user"], asked["after"]["approval_status"]) == (
        "key.create",
        developer.email,
        "pending",
    )
    assert _change(decided)[2:] == ({"approval_status": "pending"}, {"approval_status": "approved"})
    assert (decided["action"], decided["user"]) == ("key.approve", owner.email)
    assert (revoked["action"], revoked["before"]) == ("key.revoke", {"revoked_at": None})
    # but not the key
    assert approved.body["key"] not in json.dumps(_entries(owner, pageSize=100))
    # and the entries are found by actor, action and time
    assert [entry["action"] for entry in _entries(owner, actor=developer.email)] == ["key.create", "session.start"]
    assert [entry["object_id"] for entry in _entries(owner, action="key.approve")] == [key_id]
    assert _entries(owner, **{"from": decided["at"], "to": revoked["at"], "action": "key.approve"}) == [decided]
    assert _entries(owner, to=asked["at"], object_id=key_id) == []
    # but neither by another organization nor by a developer
    outsider = Organization(fast_stack).owner
    assert _entries(outsider, object_id=key_id) == []
    assert _entries(outsider, actor=developer.email) == []
    assert {entry["user"] for entry in _entries(outsider)} == {outsider.email}
    assert developer.get(AUDIT).status == 403


def test_sign_ins_are_logged_and_refused_ones_without_a_user(organization: Organization, fast_stack: Stack) -> None:
    # Given a refused sign-in with a wrong password, and a user who signs out
    owner = organization.owner
    guest = organization.add("viewer")
    anonymous = Customer(owner.url, key="")
    assert anonymous.post("/api/v1/auth/login", {"email": guest.email, "password": "a guess"}).status == 401
    assert guest.post("/api/v1/auth/logout", {}).status == 200
    # Then both are logged, the refused one without a user, as identity was not verified
    until(lambda: _entries(owner, action="session.refuse"), "the refused sign-in is in the log")
    [refused] = _entries(owner, action="session.refuse")
    assert (refused["user"], refused["object_kind"], refused["address"]) == (None, "user", "127.0.0.1")
    assert [entry["action"] for entry in _entries(owner, actor=guest.email)] == ["session.end", "session.start"]
    # and an operator gets the same log
    shown = _command(fast_stack, organization.name, "--json")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert lines == _entries(owner, pageSize=100), shown.stderr
    assert "session.refuse" in _command(fast_stack, organization.name, "--since", "2026-01-01").stdout
    assert "no organization" in _command(fast_stack, "No such carrier").stderr


def test_log_is_listed_by_page_and_by_cursor(organization: Organization) -> None:
    # Given a log with five entries
    owner = organization.owner
    for _ in range(4):
        create_key(owner, "sandbox")
    whole = owner.get(AUDIT).data
    assert (whole["total"], whole["totalIsMinimum"], whole["hasNextPage"]) == (5, False, False)
    # When it is read by page and by cursor, then each entry is listed once, the newest first
    assert list(owner.items(AUDIT)) == whole["items"]
    walked, cursor = [], {}
    while cursor is not None:
        data = owner.get(AUDIT, pageSize=2, **cursor).data
        walked += data["items"]
        cursor = {"cursor": data["nextCursor"]} if data["hasNextPage"] else None
    assert walked == whole["items"]
    assert [entry["id"] for entry in walked] == sorted((entry["id"] for entry in walked), reverse=True)


def test_invalid_filter_is_rejected_with_its_field(organization: Organization) -> None:
    owner = organization.owner
    mistakes = {"from": "yesterday", "to": "2026-01-31T00:00:00", "action": "key.borrow", "page": "0", "who": "me"}
    for name, value in mistakes.items():
        answer = owner.get(AUDIT, **{name: value})
        assert (answer.status, answer.error["code"], answer.error["details"]["field"]) == (
            400,
            "VALIDATION_ERROR",
            name,
        )
    # and a value that matches no entry finds nothing
    for name, value in {"request_id": "r-1", "actor": "key_1", "object_id": "é"}.items():
        assert _entries(owner, **{name: value}) == []


def _command(stack: Stack, organization: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OVNPAY_DATABASE_URL": stack["database_url"], "OVNPAY_REDIS_URL": stack["redis_url"]}
    command = [sys.executable, "-m", "shared.cli", "audit", "--organization", organization, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)
