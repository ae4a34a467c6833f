"""`ovnpay users` and `ovnpay keys`, and the limits of sign-ins and requests."""

import os
import subprocess
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.polling import until
from tests.support.stack import Stack


def _users(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _ovnpay(stack, "users", *arguments)


def _ovnpay(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
    }
    command = [sys.executable, "-m", "shared.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def _password(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("password")]
    return line.split()[1]


def _sign_in(stack: Stack, email: str, password: str) -> Answer:
    return Customer(stack["gateway"], key="").post("/api/v1/auth/login", {"email": email, "password": password})


def test_operator_creates_an_organization_and_resets_its_owners_password(stack: Stack) -> None:
    # Given a new organization with its owner
    name, email = f"Carrier {uuid.uuid4().hex[:8]}", f"{uuid.uuid4().hex[:8]}@carrier.example"
    password = _password(_users(stack, "create", email, "--organization", name, "--new"))
    # When the owner signs in
    signed_in = _sign_in(stack, email, password).data
    # Then they have no keys yet, and can create one for an empty sandbox
    assert signed_in["user"] == {"email": email, "role": "owner", "organization": name}
    owner = Customer(stack["gateway"], signed_in["token"])
    assert owner.get("/api/v1/developer/keys").body["keys"] == []
    body = {"name": "First", "mode": "sandbox", "scopes": ["balance:read", "payouts:read"]}
    key = owner.post("/api/v1/developer/keys", body).body["key"]
    assert Customer(stack["gateway"], key).get("/api/v1/payouts").data["total"] == 0
    # And after a password reset their sessions have ended and only the new password works
    another = _password(_users(stack, "reset-password", email))
    assert owner.get("/api/v1/auth/me").status == 401
    assert _sign_in(stack, email, password).status == 401
    assert _sign_in(stack, email, another).status == 200
    assert f"{name}  owner      {email}" in _users(stack, "list").stdout


def test_operator_limits_a_key_and_revokes_it(stack: Stack) -> None:
    # Given a key with the default rate limit
    owner = Customer(stack["gateway"], _sign_in(stack, **stack["owner"]).data["token"])
    made = owner.post("/api/v1/developer/keys", {"name": "Busy", "mode": "sandbox", "scopes": ["balance:read"]}).body
    customer = Customer(stack["gateway"], made["key"])
    usual = customer.get("/api/v1/balance").headers["X-RateLimit-Limit"]
    # When an operator limits it
    assert _ovnpay(stack, "keys", "limit", made["id"], "--per-minute", "5").returncode == 0

    def limit() -> str:
        return str(customer.get("/api/v1/balance").headers["X-RateLimit-Limit"])

    # Then the limit applies within seconds, and a request after a burst of ten is rejected
    until(lambda: limit() == "5", "the key's own limit holds", 5)
    answers = [customer.get("/api/v1/balance") for _ in range(11)]
    assert answers[-1].status == 429
    assert f"{made['id']}  Demo Carrier  sandbox  approved  5/min" in _ovnpay(stack, "keys", "list").stdout
    # and the default limit can be restored
    assert _ovnpay(stack, "keys", "limit", made["id"]).returncode == 0
    until(lambda: limit() == usual, "the installation's limit holds", 5)
    # When it is revoked, then requests with it are rejected
    assert _ovnpay(stack, "keys", "revoke", made["id"]).returncode == 0
    until(lambda: customer.get("/api/v1/balance").status == 401, "the key is refused", 5)
    said = [entry["action"] for entry in owner.get("/api/v1/admin/audit", object_id=made["id"]).data["items"]]
    assert said == ["key.revoke", "key.limit", "key.limit", "key.create"]
    # and an unknown key is reported
    unknown = _ovnpay(stack, "keys", "revoke", "key_00000000000000000000000000")
    assert (unknown.returncode, "No such API key" in unknown.stderr) == (1, True)


def test_mistakes_are_explained(stack: Stack) -> None:
    # Given an email address without a user
    unknown_email = f"{uuid.uuid4().hex}@carrier.example"
    # When an operator makes a mistake
    unknown = _users(stack, "create", unknown_email, "--organization", "No such carrier")
    role = _users(stack, "create", unknown_email, "--organization", "Demo Carrier", "--role", "king")
    reset = _users(stack, "reset-password", unknown_email)
    # Then each message says what is wrong and what to do
    assert (unknown.returncode, "--new creates it" in unknown.stderr) == (1, True)
    assert (role.returncode, "owner, admin, developer, viewer" in role.stderr) == (2, True)
    assert (reset.returncode, unknown_email in reset.stderr) == (1, True)


def test_repeated_failed_sign_ins_are_rate_limited(stack: Stack) -> None:
    # Given an account whose password is guessed
    email = f"{uuid.uuid4().hex[:8]}@carrier.example"
    # When many guesses follow one another
    answers = [_sign_in(stack, email, f"guess {number}") for number in range(15)]
    # Then ten are checked, and the others are rate limited
    assert [answer.status for answer in answers[:10]] == [401] * 10
    assert answers[-1].status == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_concurrent_guesses_get_no_more_answers_than_sequential_ones(stack: Stack) -> None:
    # Given an account whose password is guessed
    email = f"{uuid.uuid4().hex[:8]}@carrier.example"
    # When many guesses arrive at once
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: _sign_in(stack, email, f"guess {number}"), range(40)))
    # Then no more than ten are checked, and the others are rate limited
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {401, 429, 503}
    assert 1 <= statuses[401] <= 11
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status != 401)


def test_every_response_has_the_rate_limit_headers(stack: Stack, customer: Customer) -> None:
    # Given responses of all kinds
    answers = [customer.get(path) for path in ("/health", "/api/v1/balance", "/api/v1/nowhere", "/api/v1/payouts/x")]
    answers.append(Customer(stack["gateway"], key="junk").get("/api/v1/balance"))
    # Then each has the three headers
    for answer in answers:
        for name in ("Limit", "Remaining", "Reset"):
            assert int(answer.headers[f"X-RateLimit-{name}"]) > 0, answer
