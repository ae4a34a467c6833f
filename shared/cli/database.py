"""Commands on the database: migrate, bootstrap, verify."""

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from shared import keys, migrations
from shared.clock import SystemClock
from shared.db import DatabaseNotReady, engine_for, wait_until_ready
from shared.ledger.reading import breaks
from shared.models.organizations import DuplicateLoads, Mode
from shared.organizations import Opening, open_organization, set_policy
from shared.settings import Settings, SettingsError, load

BOOTSTRAP_VARIABLE = "OVNPAY_BOOTSTRAP"
"""Credentials to make sure of, as `bootstrap --json` printed them before."""


@contextmanager
def database() -> Iterator[tuple[Settings, sa.Engine]]:
    """The settings and an engine to a database that answers; a plain sentence and exit 2 otherwise."""
    try:
        settings = load()
        engine = engine_for(settings, "cli", pool_size=1)
        try:
            wait_until_ready(engine, revision=None)
            yield settings, engine
        finally:
            engine.dispose()
    except (SettingsError, DatabaseNotReady) as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def migrate() -> None:
    """Migrates and says what was done."""
    with database() as (_, engine):
        applied = migrations.upgrade(engine)
    print(f"migrated: {', '.join(applied)}" if applied else f"nothing to do: at {migrations.HEAD}")


def bootstrap(*, as_json: bool) -> None:
    """Migrates, opens the first organization (or makes sure of the one in OVNPAY_BOOTSTRAP), prints its credentials."""
    kept: dict[str, Any] = json.loads(os.environ.get(BOOTSTRAP_VARIABLE) or "{}")
    owner = kept.get("owner") or {"email": "owner@demo-carrier.example", "password": secrets.token_urlsafe(16)}
    opening = Opening(
        name="Demo Carrier",
        owner_email=owner["email"],
        owner_password=owner["password"],
        sandbox_key=kept.get("sandbox_key") or keys.generate(Mode.SANDBOX),
        production_key=kept.get("production_key") or keys.generate(Mode.PRODUCTION),
    )
    with database() as (settings, engine):
        migrations.upgrade(engine)
        with engine.begin() as connection:
            open_organization(connection, opening, settings.key_pepper, SystemClock().now())
    credentials = {
        "sandbox_key": opening.sandbox_key,
        "production_key": opening.production_key,
        "owner": {"email": opening.owner_email, "password": opening.owner_password},
    }
    if as_json:
        print(json.dumps(credentials))
    else:
        print(f"sandbox key     {opening.sandbox_key}\nproduction key  {opening.production_key}")
        print(f"owner           {opening.owner_email}  {opening.owner_password}")


def verify() -> None:
    """Proves the ledger."""
    with database() as (_, engine):
        isolated = engine.execution_options(isolation_level="REPEATABLE READ")
        with isolated.connect() as connection, connection.begin():
            found = breaks(connection)
            transfers = connection.scalar(sa.text("SELECT count(*) FROM transfers"))
    for broken in found:
        print(f"wallet {broken.wallet_id}: {broken.explanation}", file=sys.stderr)
    if found:
        raise SystemExit(1)
    print(f"the ledger is right: {transfers} transfers, every account equals its own and each wallet sums to zero")


def wallet(organization: str, mode: str, duplicate_loads: str | None, low_balance_cents: int | None) -> None:
    """Shows a wallet's policy, after setting it where one is given."""
    try:
        chosen_mode = Mode(mode)
        policy = None if duplicate_loads is None else DuplicateLoads(duplicate_loads)
    except ValueError as error:
        print(f"ovnpay wallet: {error}; say sandbox or production, and warn or refuse", file=sys.stderr)
        raise SystemExit(2) from None
    with database() as (_, engine), engine.begin() as connection:
        found = set_policy(
            connection, organization, chosen_mode, policy, SystemClock().now(), low_balance_cents=low_balance_cents
        )
    if found is None:
        print(f"ovnpay wallet: there is no organization named {organization!r}", file=sys.stderr)
        raise SystemExit(1)
    low = "never" if found.low_balance_cents is None else f"below {found.low_balance_cents} cents"
    print(f"{found.organization}, {found.mode}: duplicate loads {found.duplicate_loads}, low balance told {low}")
