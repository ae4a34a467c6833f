"""Open organizations with their two wallets, owner and first keys; set wallet policies."""

import uuid
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.funding import topups
from shared.identity import api_keys, audit, users
from shared.ledger import list_counts
from shared.platform.ids import KEY, ORGANIZATION, WALLET, new_id, public_id
from shared.schema.audit import Action
from shared.schema.organizations import DuplicateLoads, Mode, Role

SANDBOX_GRANT_CENTS = 100_000_00
"""Opening balance of a sandbox wallet."""


class NewOrganization(NamedTuple):
    """What `open_organization` creates."""

    name: str
    owner_email: str
    owner_password: str
    sandbox_key: str
    production_key: str


# Serializes openings with the same owner until the transaction ends.
_LOCK_EMAIL: Final = sa.text("SELECT pg_advisory_xact_lock(hashtext(:email))")

# The owner by their email; locks nothing.
_OWNER: Final = sa.text("SELECT id, organization_id FROM users WHERE email = :email")

# The organization's current wallets; locks nothing.
_WALLETS: Final = sa.text("SELECT mode, id FROM wallets WHERE organization_id = :id AND retired_at IS NULL")


def open_organization(connection: sa.Connection, new: NewOrganization, pepper: str, now: datetime) -> uuid.UUID:
    """Create the organization, its wallets, owner and keys, as far as they are missing; return its id."""
    connection.execute(_LOCK_EMAIL, {"email": new.owner_email})
    found = connection.execute(_OWNER, {"email": new.owner_email.lower()}).one_or_none()
    if found is None:
        created_id = create_organization(connection, new.name, now)
        users.add_user(connection, created_id, new.owner_email, new.owner_password, Role.OWNER, now)
        found = connection.execute(_OWNER, {"email": new.owner_email.lower()}).one()
    owner_id, organization_id = found
    assert isinstance(organization_id, uuid.UUID)
    rows = connection.execute(_WALLETS, {"id": organization_id})
    wallets = {row.mode: row.id for row in rows}
    for mode, text in ((Mode.SANDBOX, new.sandbox_key), (Mode.PRODUCTION, new.production_key)):
        key_id = api_keys.add_approved_key(connection, wallets[mode], owner_id, text, pepper, f"First {mode} key", now)
        if key_id is not None:
            actor, facts = (
                audit.operator_actor(organization_id, wallets[mode]),
                {"mode": mode, "scopes": list(api_keys.SCOPES)},
            )
            audit.record_entries(
                connection, [audit.Entry(actor, Action.KEY_CREATE, public_id(KEY, key_id), after=facts)], now
            )
    return organization_id


# Inserts the organization; locks nothing else.
_INSERT_ORGANIZATION: Final = sa.text("INSERT INTO organizations (id, name, created_at) VALUES (:id, :name, :now)")


def create_organization(connection: sa.Connection, name: str, now: datetime) -> uuid.UUID:
    """Create an organization with a wallet for each mode; return its id."""
    organization_id = new_id()
    connection.execute(_INSERT_ORGANIZATION, {"id": organization_id, "name": name, "now": now})
    for mode in Mode:
        open_wallet(connection, organization_id, mode, now)
    entry = audit.Entry(
        audit.operator_actor(organization_id), Action.ORGANIZATION_CREATE, public_id(ORGANIZATION, organization_id)
    )
    audit.record_entries(connection, [entry], now)
    return organization_id


# The oldest organization with a name; locks nothing.
_ORGANIZATION_BY_NAME: Final = sa.text("SELECT id FROM organizations WHERE name = :name ORDER BY id")


def find_organization_id(connection: sa.Connection, name: str) -> uuid.UUID | None:
    """Return the id of the organization with that name, or None."""
    found: uuid.UUID | None = connection.scalar(_ORGANIZATION_BY_NAME, {"name": name})
    return found


# Inserts the wallet; locks nothing else.
_INSERT_WALLET: Final = sa.text("""
    INSERT INTO wallets (id, organization_id, mode, duplicate_loads, created_at)
    VALUES (:id, :organization_id, :mode, :duplicate_loads, :now)
""")


def open_wallet(
    connection: sa.Connection,
    organization_id: uuid.UUID,
    mode: Mode,
    now: datetime,
    duplicate_loads: DuplicateLoads = DuplicateLoads.WARN,
) -> uuid.UUID:
    """Create a wallet with its accounts and row counts, and a sandbox wallet's opening balance; return its id."""
    wallet_id = new_id()
    connection.execute(
        _INSERT_WALLET,
        {
            "id": wallet_id,
            "organization_id": organization_id,
            "mode": mode.value,
            "duplicate_loads": duplicate_loads.value,
            "now": now,
        },
    )
    ledger.open_accounts(connection, wallet_id)
    list_counts.create_counts(connection, wallet_id)
    if mode is Mode.SANDBOX:
        topups.grant_sandbox_funds(connection, wallet_id, SANDBOX_GRANT_CENTS, now)
    return wallet_id


class WalletPolicy(NamedTuple):
    """A wallet's policy."""

    organization: str
    mode: str
    duplicate_loads: str
    low_balance_cents: int | None


# Locks the wallet.
_LOCK_WALLET: Final = sa.text("""
    SELECT wallets.id, organization_id, organizations.name, duplicate_loads, low_balance_cents
    FROM wallets JOIN organizations ON organizations.id = organization_id
    WHERE organizations.id = :organization_id AND mode = :mode AND retired_at IS NULL
    FOR NO KEY UPDATE OF wallets
""")

# Changes the locked wallet.
_UPDATE_POLICY: Final = sa.text("""
    UPDATE wallets SET duplicate_loads = :duplicate_loads, low_balance_cents = :low_balance_cents
    WHERE id = :id
""")


def set_wallet_policy(
    connection: sa.Connection,
    organization: str,
    mode: Mode,
    duplicate_loads: DuplicateLoads | None,
    now: datetime,
    *,
    low_balance_cents: int | None = None,
) -> WalletPolicy | None:
    """Change the given parts of a wallet's policy; a low balance of 0 removes the threshold. Return the new policy;
    None if there is no organization with that name.
    """
    found = connection.execute(
        _LOCK_WALLET, {"organization_id": find_organization_id(connection, organization), "mode": mode.value}
    ).one_or_none()
    if found is None:
        return None
    before = {"duplicate_loads": found.duplicate_loads, "low_balance_cents": found.low_balance_cents}
    after = dict(before)
    if duplicate_loads is not None:
        after["duplicate_loads"] = duplicate_loads.value
    if low_balance_cents is not None:
        after["low_balance_cents"] = low_balance_cents or None
    if duplicate_loads is not None or low_balance_cents is not None:
        connection.execute(
            _UPDATE_POLICY,
            after | {"id": found.id},
        )
        actor = audit.operator_actor(found.organization_id, found.id)
        entry = audit.Entry(
            actor, Action.WALLET_UPDATE, public_id(WALLET, found.id), *audit.changed_fields(before, after)
        )
        audit.record_entries(connection, [entry], now)
    return WalletPolicy(found.name, mode.value, after["duplicate_loads"], after["low_balance_cents"])
