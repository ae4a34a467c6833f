"""The audit log over HTTP: who did what, before and after, for the organization's admins alone.

That each endpoint that changes something leaves an entry is seen where each is called: in `test_isolation`.
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


def _what(entry: Any) -> tuple[Any, ...]:
    return entry["action"], entry["object_id"], entry["before"], entry["after"]


def test_a_driver_and_his_payouts_leave_who_did_what(organization: Organization) -> None:
    # Given a driver, registered and changed by a program
    program, owner = organization.sandbox(), organization.owner
    driver_id = program.register("John Smith", "john@drivers.example")["id"]
    path = f"/api/v1/drivers/{driver_id}"
    body = {"name": "Jane Doe", "email": "jane@drivers.example", "phone": None, "status": "inactive"}
    changed = send(program, "PUT", path, {**body, "bankAccount": BANK})
    assert changed.status == 200
    assert send(program, "PUT", f"{path[:-1]}!", body).status == 404
    # When he is deleted
    assert send(program, "DELETE", path).status == 200
    # Then the log says what was done to him, and of his personal data only that it changed
    deleted, updated, registered = _entries(owner, object_id=driver_id)
    assert _what(deleted) == ("driver.delete", driver_id, {"status": "inactive"}, {"status": "inactive"})
    assert (updated["action"], updated["before"]["status"]) in {
        ("driver.update", "invited"),
        ("driver.update", "pending"),
        ("driver.update", "active"),
    }
    hidden = {"name": "***", "email": "***"}
    assert updated["before"].items() >= {**hidden, "phone": "***"}.items()
    assert updated["after"].items() >= {**hidden, "phone": None, "status": "inactive", "bankAccount": "***"}.items()
    assert registered["after"].keys() == {"ovnDriverId", "status"}
    # by whom, from where, in which request
    [key] = owner.get("/api/v1/developer/keys").body["keys"]
    assert (updated["actor_kind"], updated["key_id"], updated["user"]) == ("key", key["id"], None)
    assert (updated["address"], updated["mode"]) == ("127.0.0.1", "sandbox")
    assert updated["request_id"] == changed.body["meta"]["requestId"]
    # and nothing of his is anywhere in the log
    log = json.dumps([_what(entry) for entry in _entries(owner, pageSize=100)])
    words = ("Jane", "John", "drivers.example", BANK["accountNumber"], BANK["routingNumber"], "15551234567")
    assert [word for word in words if word in log] == []


def test_a_cancel_and_a_repeat_of_it(
    carrier: Customer, carrier_organization: Organization, three_drivers: list[str]
) -> None:
    # Given a batch that waits
    owner, mark = carrier_organization.owner, uuid.uuid4().hex
    batch = batches.create_batch(carrier, three_drivers)
    payouts = carrier.get(f"{batches.PATH}/{batch['id']}").data["payouts"]
    # When a payout of it is canceled, twice under one key, and the others in bulk
    one, *others = [payout["id"] for payout in payouts]
    first = carrier.post(f"/api/v1/payouts/{one}/cancel", {}, mark)
    again = carrier.post(f"/api/v1/payouts/{one}/cancel", {}, mark)
    assert (first.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert carrier.post("/api/v1/payouts/bulk/cancel", {"payoutIds": [*others, one]}).data["succeeded"] == 2
    # Then each has one entry
    for payout_id in (one, *others):
        [entry] = _entries(owner, object_id=payout_id)
        assert _what(entry) == ("payout.cancel", payout_id, {"status": "validated"}, {"status": "canceled"})
    assert _entries(owner, request_id=again.body["meta"]["requestId"])[0]["object_id"] == one
    [created] = _entries(owner, object_id=batch["id"])
    assert (created["action"], created["after"]["payoutCount"], created["after"]["totalAmount"]) == (
        "batch.create",
        3,
        135_000,
    )


def test_a_key_from_its_request_to_its_end(organization: Organization, fast_stack: Stack) -> None:
    # Given a production key that a developer asks for, and an owner approves, and revokes
    developer, owner = organization.add("developer"), organization.owner
    key_id = create_key(developer, "production")["id"]
    approved = owner.post(f"/api/v1/admin/api-keys/{key_id}/approve", {})
    assert send(owner, "DELETE", f"/api/v1/admin/api-keys/{key_id}").status == 200
    # Then the log tells it
    revoked, decided, asked = _entries(owner, object_id=key_id)
    assert (asked["action"], asked["user"], asked["after"]["approval_status"]) == (
        "key.create",
        developer.email,
        "pending",
    )
    assert _what(decided)[2:] == ({"approval_status": "pending"}, {"approval_status": "approved"})
    assert (decided["action"], decided["user"]) == ("key.approve", owner.email)
    assert (revoked["action"], revoked["before"]) == ("key.revoke", {"revoked_at": None})
    # but not the key
    assert approved.body["key"] not in json.dumps(_entries(owner, pageSize=100))
    # and it is found by whom, by what, and by when
    assert [entry["action"] for entry in _entries(owner, actor=developer.email)] == ["key.create", "session.start"]
    assert [entry["object_id"] for entry in _entries(owner, action="key.approve")] == [key_id]
    assert _entries(owner, **{"from": decided["at"], "to": revoked["at"], "action": "key.approve"}) == [decided]
    assert _entries(owner, to=asked["at"], object_id=key_id) == []
    # and by nobody else: not in another organization, nor by a developer
    stranger = Organization(fast_stack).owner
    assert _entries(stranger, object_id=key_id) == []
    assert _entries(stranger, actor=developer.email) == []
    assert {entry["user"] for entry in _entries(stranger)} == {stranger.email}
    assert developer.get(AUDIT).status == 403


def test_sign_ins_that_succeed_and_that_do_not(organization: Organization, fast_stack: Stack) -> None:
    # Given somebody who gives a wrong password, and signs out of his old session
    owner = organization.owner
    guest = organization.add("viewer")
    nobody = Customer(owner.url, key="")
    assert nobody.post("/api/v1/auth/login", {"email": guest.email, "password": "a guess"}).status == 401
    assert guest.post("/api/v1/auth/logout", {}).status == 200
    # Then the log says so, and names nobody for what nobody has proved
    until(lambda: _entries(owner, action="session.refuse"), "the refused sign-in is in the log")
    [refused] = _entries(owner, action="session.refuse")
    assert (refused["user"], refused["object_kind"], refused["address"]) == (None, "user", "127.0.0.1")
    assert [entry["action"] for entry in _entries(owner, actor=guest.email)] == ["session.end", "session.start"]
    # and an operator sees the same log
    shown = _command(fast_stack, organization.name, "--json")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert lines == _entries(owner, pageSize=100), shown.stderr
    assert "session.refuse" in _command(fast_stack, organization.name, "--since", "2026-01-01").stdout
    assert "no organization" in _command(fast_stack, "No such carrier").stderr


def test_the_log_comes_page_after_page(organization: Organization) -> None:
    # Given a log of some entries
    owner = organization.owner
    for _ in range(4):
        create_key(owner, "sandbox")
    whole = owner.get(AUDIT).data
    assert (whole["total"], whole["totalIsMinimum"], whole["hasNextPage"]) == (5, False, False)
    # When it is read two at a time, by page and by cursor, then each entry comes once, the newest first
    assert list(owner.items(AUDIT)) == whole["items"]
    walked, cursor = [], {}
    while cursor is not None:
        data = owner.get(AUDIT, pageSize=2, **cursor).data
        walked += data["items"]
        cursor = {"cursor": data["nextCursor"]} if data["hasNextPage"] else None
    assert walked == whole["items"]
    assert [entry["id"] for entry in walked] == sorted((entry["id"] for entry in walked), reverse=True)


def test_mistaken_filters_are_said(organization: Organization) -> None:
    owner = organization.owner
    mistakes = {"from": "yesterday", "to": "2026-01-31T00:00:00", "action": "key.borrow", "page": "0", "who": "me"}
    for name, value in mistakes.items():
        answer = owner.get(AUDIT, **{name: value})
        assert (answer.status, answer.error["code"], answer.error["details"]["field"]) == (
            400,
            "VALIDATION_ERROR",
            name,
        )
    # and what can't be anybody's finds nothing
    for name, value in {"request_id": "r-1", "actor": "key_1", "object_id": "é"}.items():
        assert _entries(owner, **{name: value}) == []


def _command(stack: Stack, organization: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OVNPAY_DATABASE_URL": stack["database_url"], "OVNPAY_REDIS_URL": stack["redis_url"]}
    command = [sys.executable, "-m", "shared.cli", "audit", "--organization", organization, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)
