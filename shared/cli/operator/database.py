"""Commands on the database: migrate, bootstrap, and what an organization and its wallets are set to."""

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from shared.identity import api_keys, audit
from shared.onboarding import organizations
from shared.onboarding.organizations import NewOrganization, open_organization, set_wallet_policy
from shared.platform.clock import SystemClock
from shared.platform.database import DatabaseNotReady, make_engine, wait_for_database
from shared.platform.errors import InvalidRequest
from shared.platform.ids import ORGANIZATION, public_id
from shared.platform.settings import Settings, SettingsError, load_settings
from shared.reporting.analytics import time_zones
from shared.schema import migrations
from shared.schema.audit import Action
from shared.schema.migrations import grants
from shared.schema.organizations import DuplicateLoads, Mode

BOOTSTRAP_VARIABLE = "OVNPAY_BOOTSTRAP"
"""Credentials to make sure of, as `bootstrap --json` printed them before."""


@contextmanager
def open_database() -> Iterator[tuple[Settings, sa.Engine]]:
    """The settings and an engine to a database that answers; a plain sentence and exit 2 otherwise."""
    try:
        settings = load_settings()
        engine = make_engine(settings, "cli", pool_size=1)
        try:
            wait_for_database(engine, revision=None)
            yield settings, engine
        finally:
            engine.dispose()
    except (SettingsError, DatabaseNotReady) as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _migrate() -> list[str]:
    """Migrates as the owner; says on stderr what keeps the services from being somebody else. Returns what was done."""
    try:
        settings = load_settings()
        engine = make_engine(settings, "migrate", pool_size=1, url=settings.migration_database_url)
        try:
            wait_for_database(engine, revision=None)
            applied, missing = migrations.upgrade_with_grants(engine)
        finally:
            engine.dispose()
        if missing:
            print(f"ovnpay migrate: {missing}", file=sys.stderr)
    except (SettingsError, DatabaseNotReady) as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        print(
            f"ovnpay migrate: {str(error.orig).strip()}: only the role that owns the tables can migrate; "
            "set OVNPAY_MIGRATION_DATABASE_URL to its URL",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    return applied


def migrate() -> None:
    """Migrates and says what was done."""
    applied = _migrate()
    with open_database() as (_, engine), engine.connect() as connection:
        changeable = grants.modifiable_append_only_tables(connection)
    if changeable:
        print(
            "ovnpay migrate: the services run as a role that can change the ledger, for OVNPAY_DATABASE_URL names the "
            f"tables' owner or a superuser; give them a login in {grants.SERVICE_ROLE}, and this command the owner by "
            "OVNPAY_MIGRATION_DATABASE_URL",
            file=sys.stderr,
        )
    print(f"migrated: {', '.join(applied)}" if applied else f"nothing to do: at {migrations.HEAD_REVISION}")


def bootstrap(*, as_json: bool) -> None:
    """Migrates, opens the first organization (or makes sure of the one in OVNPAY_BOOTSTRAP), prints its credentials."""
    kept: dict[str, Any] = json.loads(os.environ.get(BOOTSTRAP_VARIABLE) or "{}")
    owner = kept.get("owner") or {"email": "owner@demo-carrier.example", "password": secrets.token_urlsafe(16)}
    opening = NewOrganization(
        name="Demo Carrier",
        owner_email=owner["email"],
        owner_password=owner["password"],
        sandbox_key=kept.get("sandbox_key") or api_keys.generate_key(Mode.SANDBOX),
        production_key=kept.get("production_key") or api_keys.generate_key(Mode.PRODUCTION),
    )
    _migrate()
    with open_database() as (settings, engine), engine.begin() as connection:
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


def configure_wallet(organization: str, mode: str, duplicate_loads: str | None, low_balance_cents: int | None) -> None:
    """Shows a wallet's policy, after setting it where one is given."""
    try:
        chosen_mode = Mode(mode)
        policy = None if duplicate_loads is None else DuplicateLoads(duplicate_loads)
    except ValueError as error:
        print(f"ovnpay wallet: {error}; say sandbox or production, and warn or refuse", file=sys.stderr)
        raise SystemExit(2) from None
    with open_database() as (_, engine), engine.begin() as connection:
        found = set_wallet_policy(
            connection, organization, chosen_mode, policy, SystemClock().now(), low_balance_cents=low_balance_cents
        )
    if found is None:
        print(f"ovnpay wallet: there is no organization named {organization!r}", file=sys.stderr)
        raise SystemExit(1)
    low = "never" if found.low_balance_cents is None else f"below {found.low_balance_cents} cents"
    print(f"{found.organization}, {found.mode}: duplicate loads {found.duplicate_loads}, low balance told {low}")


def configure_organization(name: str, time_zone: str | None) -> None:
    """Shows an organization's time zone, after setting it where one is given."""
    with open_database() as (_, engine), engine.begin() as connection:
        # Counting years of days anew, under locks that a folding scheduler may hold for a while, takes its time.
        connection.execute(sa.text("SET LOCAL statement_timeout = '30min'; SET LOCAL lock_timeout = '60s'"))
        organization_id = organizations.find_organization_id(connection, name)
        if organization_id is None:
            print(f"ovnpay organization: there is no organization named {name!r}", file=sys.stderr)
            raise SystemExit(1)
        try:
            if time_zone is not None:
                before = {"time_zone": time_zones.load_time_zone(connection, organization_id)}
                time_zones.set_time_zone(connection, organization_id, time_zone)
                by, shown = audit.operator_actor(organization_id), public_id(ORGANIZATION, organization_id)
                after = {"time_zone": time_zone}
                entry = audit.Entry(by, Action.ORGANIZATION_UPDATE, shown, before, after)
                audit.record_entries(connection, [entry], SystemClock().now())
        except InvalidRequest as refusal:
            print(f"ovnpay organization: {refusal.message}", file=sys.stderr)
            raise SystemExit(2) from None
        zone = time_zones.load_time_zone(connection, organization_id)
    print(f"{name}: time zone {zone}")
