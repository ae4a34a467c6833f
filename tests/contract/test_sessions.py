"""Signing in and out: sessions are for people, API keys for programs, and neither opens the other's doors."""

from datetime import UTC, datetime

import pytest

from tests.support.customer import Customer
from tests.support.organization import Organization, Person
from tests.support.stack import Stack

LOGIN, LOGOUT, ME = "/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/auth/me"
BUSINESS = ["/api/v1/drivers", "/api/v1/payouts", "/api/v1/batches", "/api/v1/balance", "/api/v1/sandbox/state"]
PEOPLES = [
    "/api/v1/developer/keys",
    "/api/v1/developer/scopes",
    "/api/v1/admin/api-keys",
    "/api/v1/admin/api-keys/pending",
    ME,
]


@pytest.fixture
def nobody(fast_stack: Stack) -> Customer:
    """Somebody who hasn't said who he is."""
    return Customer(fast_stack["gateway"], key="")


def test_owner_signs_in_and_out(fast_stack: Stack, nobody: Customer) -> None:
    # When the owner signs in
    signed_in = nobody.post(LOGIN, fast_stack["owner"]).data
    # Then he has a token for some time
    assert signed_in["token"].startswith("ovnp_sess_")
    assert datetime.fromisoformat(signed_in["expiresAt"]) > datetime.now(UTC)
    assert (signed_in["user"]["email"], signed_in["user"]["role"]) == (fast_stack["owner"]["email"], "owner")
    assert signed_in["user"]["organization"]
    # which says who he is
    owner = Customer(fast_stack["gateway"], signed_in["token"])
    assert owner.get(ME).data == signed_in["user"]
    # until he signs out
    assert owner.post(LOGOUT, {}).data["message"]
    for path in PEOPLES:
        answer = owner.get(path)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")


def test_signing_out_ends_one_session(organization: Organization, fast_stack: Stack) -> None:
    # Given somebody who is signed in twice
    first = organization.owner
    second = Person(first.url, first.email, fast_stack["owner"]["password"])
    # When he signs out of one
    first.post(LOGOUT, {}).data  # noqa: B018
    # Then the other is still there
    assert first.get(ME).status == 401
    assert second.get(ME).data["email"] == first.email


def test_wrong_credentials_are_all_told_the_same(fast_stack: Stack, nobody: Customer) -> None:
    owner = fast_stack["owner"]
    answers = [
        nobody.post(LOGIN, {"email": owner["email"], "password": owner["password"] + "x"}),
        nobody.post(LOGIN, {"email": owner["email"], "password": "a"}),
        nobody.post(LOGIN, {"email": "nobody@carrier.example", "password": owner["password"]}),
    ]
    # Which of the two is wrong is nobody's business
    errors = [(answer.status, answer.error["code"], answer.error["message"]) for answer in answers]
    assert len(set(errors)) == 1
    assert errors[0][:2] == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("missing", ["email", "password"])
def test_sign_in_needs_both(fast_stack: Stack, nobody: Customer, missing: str) -> None:
    answer = nobody.post(LOGIN, {name: value for name, value in fast_stack["owner"].items() if name != missing})
    assert (answer.status, answer.error["details"]["field"]) == (400, missing)


@pytest.mark.parametrize("path", BUSINESS)
def test_session_opens_no_business_endpoint(organization: Organization, path: str) -> None:
    answer = organization.owner.get(path)
    assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", PEOPLES)
def test_api_key_opens_no_endpoint_for_people(carrier: Customer, nobody: Customer, path: str) -> None:
    for who in (carrier, nobody, Customer(carrier.url, "ovnp_sess_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")):
        answer = who.get(path)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
