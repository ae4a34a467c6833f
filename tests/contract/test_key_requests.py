"""Requests to create or reject API keys: validation, expiry and idempotency."""

import uuid

import pytest

from tests.support.organization import ALL_SCOPES, Organization, create_key

KEYS, ADMIN = "/api/v1/developer/keys", "/api/v1/admin/api-keys"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="none"),
        pytest.param({"reason": ""}, id="empty"),
        pytest.param({"reason": "N" * 501}, id="501 letters"),
        pytest.param({"reason": 7}, id="a number"),
    ],
)
def test_rejection_needs_a_reason(carrier_organization: Organization, body: dict[str, object]) -> None:
    owner = carrier_organization.owner
    key_id = create_key(owner, "production")["id"]
    answer = owner.post(f"{ADMIN}/{key_id}/reject", body)
    assert (answer.status, answer.error["details"]["field"]) == (400, "reason")
    assert owner.get(f"{KEYS}/{key_id}").body["approval_status"] == "pending"


@pytest.mark.parametrize(
    ("change_", "field"),
    [
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"mode": "test"}, "mode", id="unknown mode"),
        pytest.param({"scopes": []}, "scopes", id="no scopes"),
        pytest.param({"scopes": ["everything"]}, "scopes", id="unknown scope"),
        pytest.param({"scopes": ["drivers:read", "drivers:read"]}, "scopes", id="a scope twice"),
        pytest.param({"scopes": "drivers:read"}, "scopes", id="scopes is a text"),
        pytest.param({"expires_in": 0}, "expires_in", id="expires today"),
        pytest.param({"expires_in": 3_651}, "expires_in", id="expires in more than ten years"),
        pytest.param({"expires_in": "90"}, "expires_in", id="expires_in is a text"),
        pytest.param({"mode": "production"}, "approval_reason", id="production without a reason"),
        pytest.param({"mode": "production", "approval_reason": ""}, "approval_reason", id="production, reason empty"),
        pytest.param({"admin": True}, "admin", id="unknown field"),
    ],
)
def test_malformed_request_for_a_key_is_refused(
    carrier_organization: Organization, change_: dict[str, object], field: str
) -> None:
    owner = carrier_organization.owner
    before = owner.get(KEYS).body["total"]
    answer = owner.post(KEYS, {"name": "A key", "mode": "sandbox", "scopes": list(ALL_SCOPES)} | change_)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR"), answer
    assert answer.error["details"]["field"].partition("[")[0] == field
    assert owner.get(KEYS).body["total"] == before


def test_key_without_expires_in_does_not_expire(carrier_organization: Organization) -> None:
    assert create_key(carrier_organization.owner, "sandbox")["expires_at"] is None


def test_repeated_creation_makes_one_key_and_does_not_show_it_again(organization: Organization) -> None:
    # When a request is sent twice under one idempotency key
    body = {"name": "ERP", "mode": "sandbox", "scopes": ["payouts:read"]}
    idempotency_key = uuid.uuid4().hex
    first, second = (organization.owner.post(KEYS, body, idempotency_key) for _ in range(2))
    # Then there is one API key, and the replayed response does not contain its text
    assert (first.status, second.status) == (200, 200)
    assert first.body["key"].startswith("ovnp_sbox_")
    assert (second.body["id"], second.body["key"]) == (first.body["id"], None)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(organization.owner.get(KEYS).body["keys"]) == 1


def test_idempotency_key_reused_for_another_request_is_refused(organization: Organization) -> None:
    idempotency_key = uuid.uuid4().hex
    body = {"name": "ERP", "mode": "sandbox", "scopes": ["payouts:read"]}
    organization.owner.post(KEYS, body, idempotency_key)
    answer = organization.owner.post(KEYS, body | {"name": "Other"}, idempotency_key)
    assert (answer.status, answer.error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
