"""The samples of API keys: in snake_case, and flat except for the admin list and detail."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contract.conformance import ADDED_TO_KEYS, SAMPLES, conforms, with_only
from tests.contract.customers import send, with_key
from tests.support.organization import Organization, Person
from tests.support.polling import until
from tests.support.stack import Stack

KEYS, ADMIN = "/api/v1/developer/keys", "/api/v1/admin/api-keys"
# Scopes that the reference does not have.
ADDED_SCOPES = {"funding:write", "analytics:read"}


@pytest.fixture(scope="module")
def organization(fast_stack: Stack) -> Organization:
    """An organization of this module; its owner stands for the reference's admin@example.com."""
    return Organization(fast_stack)


@pytest.fixture
def developer(organization: Organization) -> Person:
    """Stands for the reference's developer@example.com."""
    return organization.add("developer")


def _create(developer: Person, name: str, **more: object) -> Any:
    answer = developer.post(KEYS, SAMPLES[name]["body"] | more)
    assert answer.status == 200, answer
    return answer.body


def test_create_sandbox_key(developer: Person) -> None:
    answer = developer.post(KEYS, SAMPLES["create sandbox key"]["body"])
    key = conforms("create sandbox key", answer, ADDED_TO_KEYS)
    # `expires_in` is in days: no other unit makes sense for the sample
    lifetime = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
    assert lifetime == timedelta(days=SAMPLES["create sandbox key"]["body"]["expires_in"])


def test_create_production_key(developer: Person) -> None:
    conforms("create production key", developer.post(KEYS, SAMPLES["create production key"]["body"]), ADDED_TO_KEYS)


def test_list_developer_keys(developer: Person) -> None:
    # Given the sample's key
    sample = SAMPLES["list developer keys"]["response"]["keys"][0]
    body = {name: sample[name] for name in ("name", "mode", "scopes")}
    key_id = developer.post(KEYS, body).body["id"]
    # When the keys are listed, then it is among them
    data = conforms("list developer keys", developer.get(KEYS), ADDED_TO_KEYS)
    assert [key["id"] for key in data["keys"]] == [key_id]
    assert (data["total"], data["has_next_page"]) == (1, False)


def test_get_developer_key(developer: Person) -> None:
    key_id = _create(developer, "create sandbox key")["id"]
    data = conforms("get developer key", developer.get(f"{KEYS}/{key_id}"), ADDED_TO_KEYS)
    assert data["id"] == key_id


def test_revoke_developer_key(developer: Person) -> None:
    key_id = _create(developer, "create sandbox key")["id"]
    conforms("revoke developer key", send(developer, "DELETE", f"{KEYS}/{key_id}"))


def test_regenerate_developer_key(developer: Person) -> None:
    created = _create(developer, "create sandbox key")
    answer = developer.post(f"{KEYS}/{created['id']}/regenerate", {})
    regenerated = conforms("regenerate developer key", answer, ADDED_TO_KEYS)
    assert regenerated["id"] == created["id"]
    assert regenerated["key"] != created["key"]


def test_list_scopes(developer: Person) -> None:
    data = conforms("list scopes", developer.get("/api/v1/developer/scopes"), ADDED_SCOPES)
    assert set(SAMPLES["list scopes"]["response"]["scopes"]) <= set(data["scopes"])
    assert data["descriptions"].keys() == set(data["scopes"])
    assert all(data["descriptions"].values())


def test_list_all_keys(organization: Organization, developer: Person) -> None:
    # Given the sample's key, without expiration, used once
    sample = SAMPLES["list all keys"]["response"]["data"]["items"][0]
    created = developer.post(KEYS, {name: sample[name] for name in ("name", "mode", "scopes")}).body
    assert with_key(developer, created["key"]).get("/api/v1/drivers").status == 200
    until(lambda: developer.get(f"{KEYS}/{created['id']}").body["last_used_at"], "its use is recorded")
    # When the owner lists all keys
    answer = organization.owner.get(ADMIN)
    # Then it is among them
    data = conforms("list all keys", with_only(answer, "data.items", created["id"]), ADDED_TO_KEYS)
    assert data["items"][0]["created_by"] == developer.email


def test_list_pending_keys(organization: Organization, developer: Person) -> None:
    key_id = _create(developer, "create production key")["id"]
    answer = with_only(organization.owner.get(f"{ADMIN}/pending"), "keys", key_id)
    data = conforms("list pending keys", answer, ADDED_TO_KEYS)
    assert data["keys"][0]["created_by"] == developer.email


def test_get_any_key(organization: Organization, developer: Person) -> None:
    key_id = _create(developer, "create production key")["id"]
    data = conforms("get any key", organization.owner.get(f"{ADMIN}/{key_id}"), ADDED_TO_KEYS)
    assert (data["id"], data["created_by"]) == (key_id, developer.email)


def test_approve_key(organization: Organization, developer: Person) -> None:
    key_id = _create(developer, "create production key")["id"]
    data = conforms("approve key", organization.owner.post(f"{ADMIN}/{key_id}/approve", {}), ADDED_TO_KEYS)
    assert (data["id"], data["approved_by"]) == (key_id, organization.owner.email)


def test_reject_key(organization: Organization, developer: Person) -> None:
    key_id = _create(developer, "create production key")["id"]
    answer = organization.owner.post(f"{ADMIN}/{key_id}/reject", SAMPLES["reject key"]["body"])
    assert conforms("reject key", answer, ADDED_TO_KEYS)["id"] == key_id


def test_revoke_any_key(organization: Organization, developer: Person) -> None:
    key_id = _create(developer, "create sandbox key")["id"]
    conforms("revoke any key", send(organization.owner, "DELETE", f"{ADMIN}/{key_id}"))
    assert developer.get(f"{KEYS}/{key_id}").body["revoked_at"]
