"""`ovnpay wallet` and `ovnpay organization`."""

import sqlalchemy as sa

from shared.cli.operator import fail_command
from shared.cli.operator.environment import open_database
from shared.identity import audit
from shared.onboarding import organizations
from shared.onboarding.organizations import set_wallet_policy
from shared.platform.clock import SystemClock
from shared.platform.errors import InvalidRequest
from shared.platform.ids import ORGANIZATION, public_id
from shared.reporting.analytics import time_zones
from shared.schema.audit import Action
from shared.schema.organizations import DuplicateLoads, Mode


def configure_wallet(organization: str, mode: str, duplicate_loads: str | None, low_balance_cents: int | None) -> None:
    """Change the given parts of a wallet's policy, then print it."""
    try:
        wallet_mode = Mode(mode)
        policy = None if duplicate_loads is None else DuplicateLoads(duplicate_loads)
    except ValueError as error:
        fail_command("wallet", f"{error}; modes are sandbox and production, policies warn and refuse", 2)
    with open_database() as (_, engine), engine.begin() as connection:
        wallet = set_wallet_policy(
            connection, organization, wallet_mode, policy, SystemClock().now(), low_balance_cents=low_balance_cents
        )
    if wallet is None:
        fail_command("wallet", f"there is no organization named {organization!r}")
    low = "never" if wallet.low_balance_cents is None else f"below {wallet.low_balance_cents} cents"
    print(f"{wallet.organization}, {wallet.mode}: duplicate loads {wallet.duplicate_loads}, balance.low {low}")


def configure_organization(name: str, time_zone: str | None) -> None:
    """Change an organization's time zone if one is given, then print it."""
    with open_database() as (_, engine), engine.begin() as connection:
        # A change recalculates years of analytics, and waits for locks that a scheduler holds while it folds events.
        connection.execute(sa.text("SET LOCAL statement_timeout = '30min'; SET LOCAL lock_timeout = '60s'"))
        organization_id = organizations.find_organization_id(connection, name)
        if organization_id is None:
            fail_command("organization", f"there is no organization named {name!r}")
        try:
            if time_zone is not None:
                before = {"time_zone": time_zones.load_time_zone(connection, organization_id)}
                time_zones.set_time_zone(connection, organization_id, time_zone)
                actor, object_id = audit.operator_actor(organization_id), public_id(ORGANIZATION, organization_id)
                entry = audit.Entry(actor, Action.ORGANIZATION_UPDATE, object_id, before, {"time_zone": time_zone})
                audit.record_entries(connection, [entry], SystemClock().now())
        except InvalidRequest as error:
            fail_command("organization", error.message, 2)
        zone = time_zones.load_time_zone(connection, organization_id)
    print(f"{name}: time zone {zone}")
