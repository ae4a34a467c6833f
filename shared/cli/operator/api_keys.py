"""Commands on API keys, for whoever runs the installation: list them, limit one, revoke one that has leaked."""

import json
import sys
import uuid
from typing import NoReturn

from shared.cli.operator.database import open_database
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


def _stop(sentence: str, code: int = 1) -> NoReturn:
    print(f"ovnpay keys: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def print_api_keys(organization: str | None) -> None:
    """Prints the keys that are not revoked."""
    with open_database() as (settings, engine), engine.connect() as connection:
        organization_id = None
        if organization is not None:
            organization_id = organizations.find_organization_id(connection, organization)
            if organization_id is None:
                _stop(f"there is no organization {organization!r}")
        rows = load_unrevoked_keys(connection, organization_id)
    for name, row, limit in rows:
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
        rate = f"{limit}/min" if limit else f"{settings.rate_limit_per_minute}/min (the installation's)"
        print(f"{public_id(KEY, row.id)}  {name}  {row.mode}  {row.approval_status}  {rate}  {used}  {row.name!r}")


def limit_api_key(key_id: str, per_minute: int | None) -> None:
    """Sets a key's own limit, or takes it away."""
    with open_database() as (_, engine), engine.begin() as connection:
        parsed, now = parse_id(KEY, key_id), SystemClock().now()
        try:
            set_key_rate_limit(connection, key_organization_id(connection, parsed), parsed, per_minute, now)
        except DomainError as refusal:
            _stop(f"{refusal.message}: {key_id}")
    print(f"{key_id}: {f'{per_minute} requests a minute' if per_minute else 'the limit of the installation'}")


def revoke_api_key(key_id: str) -> None:
    """Revokes a key, whosever it is."""
    with open_database() as (_, engine), engine.begin() as connection:
        parsed, now = parse_id(KEY, key_id), SystemClock().now()
        try:
            organization_id = key_organization_id(connection, parsed)
            revoke_key(connection, organization_id, parsed, now)
        except DomainError as refusal:
            _stop(f"{refusal.message}: {key_id}")
        entry = audit.Entry(audit.operator_actor(organization_id), Action.KEY_REVOKE, key_id, after={"revoked": True})
        audit.record_entries(connection, [entry], now)
    print(f"{key_id} is revoked; gateways refuse it within 2 seconds")


def print_pepper_rotation(*, seal: bool, as_json: bool) -> None:
    """Says what still depends on the previous pepper; exits with 1 while something does."""
    with open_database() as (settings, engine):
        if not settings.key_pepper_previous:
            _stop("OVNPAY_KEY_PEPPER_PREVIOUS is not set: no rotation is under way", 2)
        after: uuid.UUID | None = uuid.UUID(int=0) if seal else None
        while after is not None:
            with engine.begin() as connection:
                after = pepper_rotation.reseal_webhook_secrets(connection, settings.peppers, after)
        with engine.connect() as connection:
            found = pepper_rotation.load_pepper_dependents(connection, settings.key_pepper)
    if as_json:
        shown = {"keys": [public_id(KEY, one) for one in found.key_ids], "replacedKeys": found.replaced_keys}
        print(json.dumps(shown | {"webhooks": found.webhooks, "drivers": found.drivers}))
    else:
        print(f"API keys hashed under another pepper  {len(found.key_ids)}")
        for one in found.key_ids[:KEYS_SHOWN_MAX]:
            print(f"  {public_id(KEY, one)}")
        if len(found.key_ids) > KEYS_SHOWN_MAX:
            print(f"  and {len(found.key_ids) - KEYS_SHOWN_MAX} more: --json has them")
        print(f"replaced keys that still work         {found.replaced_keys}")
        print(f"webhook secrets to seal anew          {found.webhooks}")
        print(f"drivers' details not yet passed on    {found.drivers}")
        if found.none:
            print("nothing: OVNPAY_KEY_PEPPER_PREVIOUS can be unset, a day after the last process had another first")
    if not found.none:
        raise SystemExit(1)
