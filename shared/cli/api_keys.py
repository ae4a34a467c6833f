"""Commands on API keys, for whoever runs the installation: list them, limit one, revoke one that has leaked."""

import sys
from typing import NoReturn

from shared import audit, organizations
from shared.cli.database import database
from shared.clock import SystemClock
from shared.errors import Refusal
from shared.ids import KEY, parse, show
from shared.keys import life
from shared.models.audit import Action


def _stop(sentence: str, code: int = 1) -> NoReturn:
    print(f"ovnpay keys: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def listed(organization: str | None) -> None:
    """Prints the keys that are not revoked."""
    with database() as (settings, engine), engine.connect() as connection:
        organization_id = None
        if organization is not None:
            organization_id = organizations.by_name(connection, organization)
            if organization_id is None:
                _stop(f"there is no organization {organization!r}")
        rows = life.of_installation(connection, organization_id)
    for name, row, limit in rows:
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        rate = f"{limit}/min" if limit else f"{settings.rate_limit_per_minute}/min (the installation's)"
        print(f"{show(KEY, row.id)}  {name}  {row.mode}  {row.approval_status}  {rate}  {used}  {row.name!r}")


def limit(key_id: str, per_minute: int | None) -> None:
    """Sets a key's own limit, or takes it away."""
    with database() as (_, engine), engine.begin() as connection:
        parsed, now = parse(KEY, key_id), SystemClock().now()
        try:
            life.limit_rate(connection, life.organization_of(connection, parsed), parsed, per_minute, now)
        except Refusal as refusal:
            _stop(f"{refusal.message}: {key_id}")
    print(f"{key_id}: {f'{per_minute} requests a minute' if per_minute else 'the limit of the installation'}")


def revoke(key_id: str) -> None:
    """Revokes a key, whosever it is."""
    with database() as (_, engine), engine.begin() as connection:
        parsed, now = parse(KEY, key_id), SystemClock().now()
        try:
            organization_id = life.organization_of(connection, parsed)
            life.revoke(connection, organization_id, parsed, now)
        except Refusal as refusal:
            _stop(f"{refusal.message}: {key_id}")
        entry = audit.Entry(audit.operator(organization_id), Action.KEY_REVOKE, key_id, after={"revoked": True})
        audit.record(connection, [entry], now)
    print(f"{key_id} is revoked; gateways refuse it within 2 seconds")
