"""Sessions for people and API keys for programs: neither gives access to the other's endpoints."""

from datetime import UTC, datetime

import pytest

from tests.support.customer import Customer
from tests.support.organization import Organization, Person
from tests.support.stack import Stack

LOGIN, LOGOUT, ME = "/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/auth/me"
BUSINESS_ENDPOINTS = [
    "/api/v1/drivers",
    "/api/v1/payouts",
    "/api/v1/batches",
    "/api/v1/balance",
    "/api/v1/sandbox/state",
]
USER_ENDPOINTS = [
    "/api/v1/developer/keys",
    "/api/v1/developer/scopes",
    "/api/v1/admin/api-keys",
    "/api/v1/admin/api-keys/pending",
    ME,
]


@pytest.fixture
def anonymous(fast_stack: Stack) -> Customer:
    """A client without credentials."""
    return Customer(fast_stack["gateway"], key="")


def test_owner_signs_in_and_out(fast_stack: Stack, anonymous: Customer) -> None:
    # When the owner signs in
    signed_in = anonymous.post(LOGIN, fast_stack["owner"]).data
    # Then the response has a token that expires
    assert signed_in["token"].startswith("ovnp_sess_")
    assert datetime.fromisoformat(signed_in["expiresAt"]) > datetime.now(UTC)
    assert (signed_in["user"]["email"], signed_in["user"]["role"]) == (fast_stack["owner"]["email"], "owner")
    assert signed_in["user"]["organization"]
    # and the token identifies the owner
    owner = Customer(fast_stack["gateway"], signed_in["token"])
    assert owner.get(ME).data == signed_in["user"]
    # until sign-out
    assert owner.post(LOGOUT, {}).data["message"]
    for path in USER_ENDPOINTS:
        answer = owner.get(path)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")


def test_signing_out_ends_one_session(organization: Organization, fast_stack: Stack) -> None:
    # Given a user who is signed in twice
    first = organization.owner
    second = Person(first.url, first.email, fast_stack["owner"]["password"])
    # When one session is signed out
    first.post(LOGOUT, {}).data  # noqa: B018
    # Then the other one still works
    assert first.get(ME).status == 401
    assert second.get(ME).data["email"] == first.email


def test_error_is_the_same_for_wrong_password_and_unknown_email(fast_stack: Stack, anonymous: Customer) -> None:
    owner = fast_stack["owner"]
    answers = [
        anonymous.post(LOGIN, {"email": owner["email"], "password": owner["password"] + "x"}),
        anonymous.post(LOGIN, {"email": owner["email"], "password": "a"}),
        anonymous.post(LOGIN, {"email": "anonymous@carrier.example", "password": owner["password"]}),
    ]
    # The error does not reveal whether the email exists
    errors = [(answer.status, answer.error["code"], answer.error["message"]) for answer in answers]
    assert len(set(errors)) == 1
    assert errors[0][:2] == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("missing", ["email", "password"])
def test_sign_in_requires_email_and_password(fast_stack: Stack, anonymous: Customer, missing: str) -> None:
    answer = anonymous.post(LOGIN, {name: value for name, value in fast_stack["owner"].items() if name != missing})
    assert (answer.status, answer.error["details"]["field"]) == (400, missing)


@pytest.mark.parametrize("path", BUSINESS_ENDPOINTS)
def test_session_has_no_access_to_business_endpoints(organization: Organization, path: str) -> None:
    answer = organization.owner.get(path)
    assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", USER_ENDPOINTS)
def test_api_key_has_no_access_to_endpoints_for_users(carrier: Customer, anonymous: Customer, path: str) -> None:
    for who in (carrier, anonymous, Customer(carrier.url, "ovnp_sess_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")):
        answer = who.get(path)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
