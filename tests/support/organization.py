"""Organizations of single tests, beside the first one of a running system.

There is no sign-up, so SQL creates them, with empty wallets and no keys. Everything else goes through the API.
"""

import uuid
from typing import Any

import psycopg
from argon2 import PasswordHasher

from tests.support.customer import Customer
from tests.support.stack import Stack

# The scopes of the API reference, and those of top-ups and analytics.
ALL_SCOPES = (
    "drivers:read", "drivers:write", "payouts:read", "payouts:write", "batches:read", "batches:write", "balance:read",
    "webhooks:manage", "funding:write", "analytics:read",
)  # fmt: skip
# A developer can't create a key that debits the company's bank account.
DEVELOPERS_SCOPES = tuple(scope for scope in ALL_SCOPES if scope != "funding:write")
# A wallet has the accounts and counters of the first organization's, each at zero.
_OPEN = """
    with organization as (
        insert into organizations (id, name, created_at) values (%(id)s, %(name)s, now()) returning id
    ), wallet as (
        insert into wallets (id, organization_id, mode, created_at)
        select gen_random_uuid(), organization.id, mode, now()
          from organization, unnest(array['sandbox', 'production']) mode
        returning id
    ), counter as (
        insert into list_counts (wallet_id, name)
        select wallet.id, name from wallet, (select distinct name from list_counts) counters
    )
    insert into accounts (wallet_id, kind)
    select wallet.id, kind from wallet, (select distinct kind from accounts) kinds
"""
_ADD_USER = """
    insert into users (id, organization_id, email, password_hash, role, created_at)
    values (gen_random_uuid(), %(organization)s, %(email)s, %(password_hash)s, %(role)s, now())
"""
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes that are checked at once: a check with the default parameters takes a quarter second of a core."""


class Person(Customer):
    """A signed-in user, for the developer and admin endpoints."""

    def __init__(self, url: str, email: str, password: str) -> None:
        signed_in = Customer(url, key="").post("/api/v1/auth/login", {"email": email, "password": password})
        self.token = str(signed_in.data["token"])
        self.email = email
        super().__init__(url, self.token)


class Organization:
    """An organization with two wallets and a signed-in owner."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.id = uuid.uuid4()
        self.name = f"Carrier {self.id.hex[:12]}"
        self.execute(_OPEN, id=self.id, name=self.name)
        self.owner = self.add("owner")

    def add(self, role: str) -> Person:
        """Add a user and sign in."""
        email = f"{role}-{uuid.uuid4().hex[:12]}@carrier.example"
        password = self._stack["owner"]["password"]
        password_hash = CHEAP_HASHER.hash(password)
        self.execute(_ADD_USER, organization=self.id, email=email, role=role, password_hash=password_hash)
        return Person(self._stack["gateway"], email, password)

    def sandbox(self, scopes: tuple[str, ...] = ALL_SCOPES) -> Customer:
        """Create a sandbox key, and return its customer."""
        return self._with_key(create_key(self.owner, "sandbox", scopes)["key"])

    def production(self, scopes: tuple[str, ...] = ALL_SCOPES) -> Customer:
        """Create and approve a production key, and return its customer."""
        key_id = create_key(self.owner, "production", scopes)["id"]
        approved = self.owner.post(f"/api/v1/admin/api-keys/{key_id}/approve", {})
        assert approved.status == 200, approved
        return self._with_key(approved.body["key"])

    def execute(self, statement: str, **parameters: Any) -> None:
        """Run SQL for what the API doesn't offer."""
        with psycopg.connect(self._stack["database_url"]) as connection:
            connection.execute(statement, parameters)

    def refuse_duplicate_loads(self) -> None:
        """Reject a second payout for a driver's load in the sandbox."""
        self.execute(
            "update wallets set duplicate_loads = 'refuse' where organization_id = %(id)s and mode = 'sandbox'",
            id=self.id,
        )

    def _with_key(self, key: str) -> Customer:
        return Customer(self._stack["gateway"], key)


def create_key(person: Customer, mode: str, scopes: tuple[str, ...] = DEVELOPERS_SCOPES) -> Any:
    """Create a key, and return the response; a production key still needs an approval."""
    body: dict[str, object] = {"name": f"A {mode} key", "mode": mode, "scopes": scopes}
    if mode == "production":
        body["approval_reason"] = "Payouts from the tests' ERP"
    answer = person.post("/api/v1/developer/keys", body)
    assert answer.status == 200, answer
    return answer.body
