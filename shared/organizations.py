"""Organizations: opening one, with its two wallets, its owner and its first keys."""

import uuid
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from argon2 import PasswordHasher

from shared import funding, keys, ledger
from shared.ids import new_id
from shared.models.organizations import Mode, Role

SANDBOX_GRANT_CENTS = 100_000_00
"""The play money that a new sandbox wallet opens with."""


class Opening(NamedTuple):
    """What an organization is opened with. Opening it again with the same changes nothing."""

    name: str
    owner_email: str
    owner_password: str
    sandbox_key: str
    production_key: str


def open_organization(connection: sa.Connection, opening: Opening, pepper: str, now: datetime) -> uuid.UUID:
    """Makes sure that the organization, its wallets, its owner and these keys exist. Returns its id."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:email))"), {"email": opening.owner_email})
    organization_id = connection.scalar(
        sa.text("SELECT organization_id FROM users WHERE email = :email"), {"email": opening.owner_email.lower()}
    )
    if organization_id is None:
        organization_id = _create(connection, opening, now)
    assert isinstance(organization_id, uuid.UUID)
    rows = connection.execute(
        sa.text("SELECT mode, id FROM wallets WHERE organization_id = :id"), {"id": organization_id}
    )
    wallets = {row.mode: row.id for row in rows}
    keys.add(connection, wallets[Mode.SANDBOX], opening.sandbox_key, pepper, "First sandbox key", now)
    keys.add(connection, wallets[Mode.PRODUCTION], opening.production_key, pepper, "First production key", now)
    return organization_id


def _create(connection: sa.Connection, opening: Opening, now: datetime) -> uuid.UUID:
    organization_id = new_id()
    connection.execute(
        sa.text("INSERT INTO organizations (id, name, created_at) VALUES (:id, :name, :now)"),
        {"id": organization_id, "name": opening.name, "now": now},
    )
    connection.execute(
        sa.text("""
            INSERT INTO users (id, organization_id, email, password_hash, role, created_at)
            VALUES (:id, :organization_id, :email, :password_hash, :role, :now)
        """),
        {
            "id": new_id(),
            "organization_id": organization_id,
            "email": opening.owner_email.lower(),
            "password_hash": PasswordHasher().hash(opening.owner_password),
            "role": Role.OWNER.value,
            "now": now,
        },
    )
    for mode in Mode:
        wallet_id = new_id()
        connection.execute(
            sa.text(
                "INSERT INTO wallets (id, organization_id, mode, created_at) "
                "VALUES (:id, :organization_id, :mode, :now)"
            ),
            {"id": wallet_id, "organization_id": organization_id, "mode": mode.value, "now": now},
        )
        ledger.open_accounts(connection, wallet_id)
        if mode is Mode.SANDBOX:
            funding.grant(connection, wallet_id, SANDBOX_GRANT_CENTS, now)
    return organization_id
