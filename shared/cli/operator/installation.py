"""`ovnpay migrate` and `ovnpay bootstrap`."""

import json
import os
import secrets
import sys
from typing import Any

import psycopg
import sqlalchemy as sa

from shared.cli.operator.environment import load_operator_settings, open_database
from shared.identity import api_keys
from shared.onboarding.organizations import NewOrganization, open_organization
from shared.platform.clock import SystemClock
from shared.platform.database import DatabaseNotReady, make_engine, wait_for_database
from shared.schema import migrations
from shared.schema.migrations import grants
from shared.schema.organizations import Mode

BOOTSTRAP_VARIABLE = "OVNPAY_BOOTSTRAP"
"""Credentials to create, in the format of `bootstrap --json`. Without it, they are random."""


def _migrate() -> list[str]:
    settings = load_operator_settings(as_owner=True)
    engine = make_engine(settings, "migrate", pool_size=1, url=settings.migration_database_url)
    try:
        wait_for_database(engine, revision=None)
        applied, missing = migrations.upgrade_with_grants(engine)
    except DatabaseNotReady as error:
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
    finally:
        engine.dispose()
    if missing:
        print(f"ovnpay migrate: {missing}", file=sys.stderr)
    return applied


def migrate_database() -> None:
    """Migrate; warn if the services' role can change the ledger."""
    applied = _migrate()
    with open_database() as (_, engine), engine.connect() as connection:
        modifiable = grants.modifiable_append_only_tables(connection)
    if modifiable:
        print(
            "ovnpay migrate: the services' role can change the ledger, because OVNPAY_DATABASE_URL names the tables' "
            f"owner or a superuser. Use a login in {grants.SERVICE_ROLE} there, and the owner in "
            "OVNPAY_MIGRATION_DATABASE_URL",
            file=sys.stderr,
        )
    print(f"migrated: {', '.join(applied)}" if applied else f"nothing to do: at {migrations.HEAD_REVISION}")


def bootstrap_installation(*, as_json: bool) -> None:
    """Migrate, ensure that the first organization exists, and print its credentials."""
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
