"""The commands of `ovnpay keys`."""

import json
import uuid

from shared.cli.operator import fail_command
from shared.cli.operator.environment import open_database
from shared.identity import audit
from shared.identity.api_keys.change import revoke_key, set_key_rate_limit
from shared.identity.api_keys.queries import key_organization_id, load_unrevoked_keys
from shared.onboarding import organizations
from shared.operations import pepper_rotation
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.platform.ids import KEY, parse_id, public_id
from shared.schema.audit import Action

KEYS_SHOWN_MAX = 20


def print_api_keys(organization: str | None) -> None:
    """Print the keys that are not revoked."""
    with open_database() as (settings, engine), engine.connect() as connection:
        organization_id = None
        if organization is not None:
            organization_id = organizations.find_organization_id(connection, organization)
            if organization_id is None:
                fail_command("keys", f"there is no organization {organization!r}")
        rows = load_unrevoked_keys(connection, organization_id)
    for name, row, limit in rows:
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        rate = f"{limit}/min" if limit else f"{settings.rate_limit_per_minute}/min (default)"
        print(f"{public_id(KEY, row.id)}  {name}  {row.mode}  {row.approval_status}  {rate}  {used}  {row.name!r}")


def limit_api_key(key_id: str, per_minute: int | None) -> None:
    """Set a key's own rate limit, or remove it."""
    with open_database() as (_, engine), engine.begin() as connection:
        parsed_id, now = parse_id(KEY, key_id), SystemClock().now()
        try:
            organization_id = key_organization_id(connection, parsed_id)
            set_key_rate_limit(connection, organization_id, parsed_id, per_minute, now)
        except DomainError as error:
            fail_command("keys", f"{error.message}: {key_id}")
    print(f"{key_id}: {f'{per_minute} requests per minute' if per_minute else 'default rate limit'}")


def revoke_api_key(key_id: str) -> None:
    """Revoke a key of any organization."""
    with open_database() as (_, engine), engine.begin() as connection:
        parsed_id, now = parse_id(KEY, key_id), SystemClock().now()
        try:
            organization_id = key_organization_id(connection, parsed_id)
            revoke_key(connection, organization_id, parsed_id, now)
        except DomainError as error:
            fail_command("keys", f"{error.message}: {key_id}")
        entry = audit.Entry(audit.operator_actor(organization_id), Action.KEY_REVOKE, key_id, after={"revoked": True})
        audit.record_entries(connection, [entry], now)
    print(f"{key_id} is revoked; gateways reject it within 2 seconds")


def print_pepper_rotation(*, seal: bool, as_json: bool) -> None:
    """Print what depends on the previous pepper; exit with 1 if anything does."""
    with open_database() as (settings, engine):
        if not settings.key_pepper_previous:
            fail_command("keys", "OVNPAY_KEY_PEPPER_PREVIOUS is not set: no rotation is in progress", 2)
        after: uuid.UUID | None = uuid.UUID(int=0) if seal else None
        while after is not None:
            with engine.begin() as connection:
                after = pepper_rotation.reseal_webhook_secrets(connection, settings.peppers, after)
        with engine.connect() as connection:
            dependents = pepper_rotation.load_pepper_dependents(connection, settings.key_pepper)
    if as_json:
        keys = [public_id(KEY, key_id) for key_id in dependents.key_ids]
        content = {"keys": keys, "replacedKeys": dependents.replaced_keys}
        print(json.dumps(content | {"webhooks": dependents.webhooks, "drivers": dependents.drivers}))
    else:
        _print_dependents(dependents)
    if not dependents.is_empty:
        raise SystemExit(1)


def _print_dependents(dependents: pepper_rotation.PepperDependents) -> None:
    print(f"API keys hashed under another pepper    {len(dependents.key_ids)}")
    for key_id in dependents.key_ids[:KEYS_SHOWN_MAX]:
        print(f"  {public_id(KEY, key_id)}")
    if len(dependents.key_ids) > KEYS_SHOWN_MAX:
        print(f"  and {len(dependents.key_ids) - KEYS_SHOWN_MAX} more: use --json")
    print(f"replaced keys that still work           {dependents.replaced_keys}")
    print(f"webhook secrets to encrypt again        {dependents.webhooks}")
    print(f"driver details not sent to Paystream    {dependents.drivers}")
    if dependents.is_empty:
        print("OVNPAY_KEY_PEPPER_PREVIOUS can be unset one day after every process has the new OVNPAY_KEY_PEPPER")
