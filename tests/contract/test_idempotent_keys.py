"""Creating a key twice under one Idempotency-Key: one key, whose text is shown once."""

import uuid

from tests.support.organization import Organization

KEYS = "/api/v1/developer/keys"


def test_a_repeated_creation_makes_one_key_and_does_not_show_it_again(organization: Organization) -> None:
    # Given a request under a key of the client's
    body = {"name": "ERP", "mode": "sandbox", "scopes": ["payouts:read"]}
    idempotency_key = uuid.uuid4().hex
    # When it is sent twice
    first, second = (organization.owner.post(KEYS, body, idempotency_key) for _ in range(2))
    # Then it is one API key, and the repeat says so without its text
    assert (first.status, second.status) == (200, 200)
    assert first.body["key"].startswith("ovnp_sbox_")
    assert (second.body["id"], second.body["key"]) == (first.body["id"], None)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(organization.owner.get(KEYS).body["keys"]) == 1


def test_another_request_under_the_same_key_is_refused(organization: Organization) -> None:
    # Given a key that was used
    idempotency_key = uuid.uuid4().hex
    body = {"name": "ERP", "mode": "sandbox", "scopes": ["payouts:read"]}
    organization.owner.post(KEYS, body, idempotency_key)
    # When another body comes with it
    answer = organization.owner.post(KEYS, body | {"name": "Other"}, idempotency_key)
    # Then it is refused
    assert (answer.status, answer.error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
