"""API keys over HTTP: requested, approved by another user, limited to their scopes, revoked within two seconds."""

import json
from typing import Any

import pytest

from tests.contract.customers import send, with_key
from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.organization import Organization, Person, create_key
from tests.support.polling import until

KEYS, ADMIN = "/api/v1/developer/keys", "/api/v1/admin/api-keys"
UNKNOWN = "key_00000000000000000000000000"
# An endpoint that each scope gives access to
PATH_BY_SCOPE = {
    "drivers:read": "/api/v1/drivers",
    "payouts:read": "/api/v1/payouts",
    "batches:read": "/api/v1/batches",
    "balance:read": "/api/v1/balance",
    "webhooks:manage": "/api/v1/webhooks/logs",
}
REVOKED_SECONDS = 2


@pytest.fixture
def developer(organization: Organization) -> Person:
    return organization.add("developer")


def _until_refused(person: Customer, key: str) -> None:
    until(
        lambda: with_key(person, key).get("/api/v1/balance").status == 401,
        "the key is refused",
        seconds=REVOKED_SECONDS,
    )


def _key(person: Customer, key_id: str) -> Any:
    answer = person.get(f"{KEYS}/{key_id}")
    assert answer.status == 200, answer
    return answer.body


def _refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error["code"]) == (status, code), answer


@pytest.mark.parametrize("scope", PATH_BY_SCOPE)
def test_sandbox_key_has_access_to_its_scopes_only(carrier_organization: Organization, scope: str) -> None:
    # When a key with one scope is created
    program = carrier_organization.sandbox((scope,))
    # Then it has access to that scope's endpoint only
    statuses = {path: program.get(path).status for path in PATH_BY_SCOPE.values()}
    assert statuses == {path: 200 if path == PATH_BY_SCOPE[scope] else 403 for path in PATH_BY_SCOPE.values()}
    # and can't write
    assert program.post("/api/v1/payouts", {"driverId": "drv_abc123", "amount": 45_000}).status == 403
    assert program.post("/api/v1/drivers", {}).status == 403
    assert program.post("/api/v1/batches", {}).status == 403


def test_key_sees_the_wallet_of_its_mode(organization: Organization) -> None:
    # Given a key of each mode
    sandbox, production = organization.sandbox(), organization.production()
    # When a driver is registered in the sandbox
    driver_id = sandbox.register()["id"]
    # Then the driver is unknown in production
    assert sandbox.get(f"/api/v1/drivers/{driver_id}").status == 200
    assert production.get(f"/api/v1/drivers/{driver_id}").status == 404


def test_production_key_works_once_it_is_approved(organization: Organization, developer: Person) -> None:
    # Given a production key requested by a developer
    created = create_key(developer, "production", ("balance:read",))
    assert (created["key"], created["is_usable"]) == (None, False)
    # When the owner approves it
    approved = organization.owner.post(f"{ADMIN}/{created['id']}/approve", {}).body
    # Then the response has the key, and it works
    assert with_key(developer, approved["key"]).get("/api/v1/balance").status == 200
    assert with_key(developer, approved["key"]).get("/api/v1/drivers").status == 403
    # and its approval is shown, but the key itself never again
    seen = organization.owner.get(f"{ADMIN}/{created['id']}").data
    assert (seen["approval_status"], seen["approved_by"]) == ("approved", organization.owner.email)
    assert seen["approved_at"] == approved["approved_at"]
    assert (_key(developer, created["id"])["is_usable"], seen["is_usable"]) == (True, True)
    for answer in (developer.get(KEYS), developer.get(f"{KEYS}/{created['id']}"), organization.owner.get(ADMIN)):
        assert approved["key"] not in json.dumps(answer.body)
    # and it is no longer pending and can't be approved or rejected again
    assert organization.owner.get(f"{ADMIN}/pending").body["keys"] == []
    _refused(organization.owner.post(f"{ADMIN}/{created['id']}/approve", {}), 409, "KEY_NOT_PENDING")
    _refused(organization.owner.post(f"{ADMIN}/{created['id']}/reject", {"reason": "No"}), 409, "KEY_NOT_PENDING")


def test_rejected_key_never_works(organization: Organization, developer: Person) -> None:
    # Given a requested production key
    key_id = create_key(developer, "production")["id"]
    _refused(developer.post(f"{KEYS}/{key_id}/regenerate", {}), 409, "KEY_NOT_APPROVED")
    # When it is rejected
    answer = organization.owner.post(f"{ADMIN}/{key_id}/reject", {"reason": "Why production?"})
    assert answer.status == 200, answer
    # Then the developer sees why
    seen = _key(developer, key_id)
    assert (seen["approval_status"], seen["rejection_reason"], seen["is_usable"]) == (
        "rejected",
        "Why production?",
        False,
    )
    assert seen["rejected_at"] == answer.body["rejected_at"]
    # and the rejection is final
    assert organization.owner.get(f"{ADMIN}/pending").body["keys"] == []
    _refused(organization.owner.post(f"{ADMIN}/{key_id}/approve", {}), 409, "KEY_NOT_PENDING")
    _refused(developer.post(f"{KEYS}/{key_id}/regenerate", {}), 409, "KEY_NOT_APPROVED")


@pytest.mark.parametrize("by_admin", [False, True], ids=["by its developer", "by the owner"])
@pytest.mark.parametrize("mode", ["sandbox", "production"])
def test_revoked_key_is_refused_within_two_seconds(
    organization: Organization, developer: Person, mode: str, by_admin: bool
) -> None:
    # Given a key in use
    created = create_key(developer, mode)
    key = created["key"]
    if mode == "production":
        key = organization.owner.post(f"{ADMIN}/{created['id']}/approve", {}).body["key"]
    assert with_key(developer, key).get("/api/v1/balance").status == 200
    # When it is revoked
    person, path = (organization.owner, ADMIN) if by_admin else (developer, KEYS)
    assert send(person, "DELETE", f"{path}/{created['id']}").status == 200
    # Then it is refused
    _until_refused(developer, key)
    # and is still listed, as revoked
    (listed,) = developer.get(KEYS).body["keys"]
    assert listed["revoked_at"]
    assert listed["is_usable"] is False
    # and can be neither revoked nor regenerated
    _refused(send(person, "DELETE", f"{path}/{created['id']}"), 409, "KEY_REVOKED")
    _refused(developer.post(f"{KEYS}/{created['id']}/regenerate", {}), 409, "KEY_REVOKED")


def test_regenerated_key_replaces_the_old_one(developer: Person) -> None:
    # Given a key in use
    created = create_key(developer, "sandbox")
    assert with_key(developer, created["key"]).get("/api/v1/balance").status == 200
    # When it is regenerated
    answer = developer.post(f"{KEYS}/{created['id']}/regenerate", {})
    # Then the new one works at once, under the same id, and the old one stops
    assert with_key(developer, answer.body["key"]).get("/api/v1/balance").status == 200
    _until_refused(developer, created["key"])
    assert [key["id"] for key in developer.get(KEYS).body["keys"]] == [created["id"]]


def test_expired_key_is_refused(organization: Organization) -> None:
    # Given a key in use
    created = create_key(organization.owner, "sandbox")
    assert with_key(organization.owner, created["key"]).get("/api/v1/balance").status == 200
    # When it expires
    organization.execute(
        """
        update api_keys set expires_at = now()
         where wallet_id in (select id from wallets where organization_id = %(id)s)
        """,
        id=organization.id,
    )
    # Then it is refused and shown as unusable
    _until_refused(organization.owner, created["key"])
    assert _key(organization.owner, created["id"])["is_usable"] is False


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_admin_endpoints_are_for_owners_and_admins(organization: Organization, role: str) -> None:
    # Given a pending key
    key_id = create_key(organization.owner, "production")["id"]
    # When a user without the role calls them
    person = organization.add(role)
    answers = [
        person.get(ADMIN),
        person.get(f"{ADMIN}/pending"),
        person.get(f"{ADMIN}/{key_id}"),
        person.post(f"{ADMIN}/{key_id}/approve", {}),
        person.post(f"{ADMIN}/{key_id}/reject", {"reason": "No"}),
        send(person, "DELETE", f"{ADMIN}/{key_id}"),
    ]
    # Then each call is forbidden, and the key stays pending
    assert [answer.status for answer in answers] == [403] * 6
    assert _key(organization.owner, key_id)["approval_status"] == "pending"


def test_own_request_must_be_approved_by_another_approver(organization: Organization) -> None:
    # Given an owner and an admin, each with a request of their own
    owner, admin = organization.owner, organization.add("admin")
    owners_key, admins_key = (create_key(person, "production")["id"] for person in (owner, admin))
    # When each approves their own, it is forbidden
    assert owner.post(f"{ADMIN}/{owners_key}/approve", {}).status == 403
    assert admin.post(f"{ADMIN}/{admins_key}/approve", {}).status == 403
    # When each approves the other's, it is allowed
    assert owner.post(f"{ADMIN}/{admins_key}/approve", {}).body["approved_by"] == owner.email
    assert admin.post(f"{ADMIN}/{owners_key}/approve", {}).body["approved_by"] == admin.email


def test_user_can_not_grant_a_scope_beyond_their_role(carrier_organization: Organization, developer: Person) -> None:
    # Given a developer, a role without `funding:write`
    body = {"name": "Greedy", "mode": "sandbox", "scopes": ["payouts:read", "funding:write"]}
    # When they request a key with it, then the error names the scope, and `scopes` lists only the others
    refused = developer.post(KEYS, body)
    assert (refused.status, refused.error["code"]) == (403, "SCOPE_NOT_YOURS")
    assert refused.error["details"] == {"scope": "funding:write"}
    assert "funding:write" not in developer.get("/api/v1/developer/scopes").body["scopes"]
    # and an owner can grant it
    assert carrier_organization.owner.post(KEYS, body).status == 200
    assert "funding:write" in carrier_organization.owner.get("/api/v1/developer/scopes").body["scopes"]


def test_developers_see_their_own_keys_and_admins_all_of_the_organization(
    carrier_organization: Organization, organization: Organization, developer: Person
) -> None:
    # Given keys of two developers, and of another organization
    other = organization.add("developer")
    first, second = create_key(developer, "sandbox")["id"], create_key(developer, "production")["id"]
    others, foreign = create_key(other, "sandbox")["id"], create_key(carrier_organization.owner, "sandbox")["id"]
    # When they are listed, then a developer sees their own, the newest first
    assert [key["id"] for key in developer.get(KEYS).body["keys"]] == [second, first]
    assert [key["id"] for key in other.get(KEYS).body["keys"]] == [others]
    # and the owner those of the organization, filtered by mode and status
    owner = organization.owner
    assert {item["id"] for item in owner.get(ADMIN).data["items"]} == {first, second, others}
    assert {item["id"] for item in owner.get(ADMIN, mode="sandbox").data["items"]} == {first, others}
    assert {item["id"] for item in owner.get(ADMIN, status="pending").data["items"]} == {second}
    page = owner.get(ADMIN, pageSize=2, page=2).data
    assert (len(page["items"]), page["total"], page["page"], page["hasNextPage"]) == (1, 3, 2, False)
    assert owner.get(ADMIN).data["pageSize"] == 20
    # and keys of others are unknown
    for person, key_id in ((developer, others), (developer, foreign), (developer, UNKNOWN), (developer, "key_x")):
        _refused(person.get(f"{KEYS}/{key_id}"), 404, "KEY_NOT_FOUND")
        _refused(send(person, "DELETE", f"{KEYS}/{key_id}"), 404, "KEY_NOT_FOUND")
        _refused(person.post(f"{KEYS}/{key_id}/regenerate", {}), 404, "KEY_NOT_FOUND")
    for key_id in (foreign, UNKNOWN, "key_x"):
        _refused(owner.get(f"{ADMIN}/{key_id}"), 404, "KEY_NOT_FOUND")
        _refused(owner.post(f"{ADMIN}/{key_id}/approve", {}), 404, "KEY_NOT_FOUND")
        _refused(owner.post(f"{ADMIN}/{key_id}/reject", {"reason": "No"}), 404, "KEY_NOT_FOUND")
        _refused(send(owner, "DELETE", f"{ADMIN}/{key_id}"), 404, "KEY_NOT_FOUND")
