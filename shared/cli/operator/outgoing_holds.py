"""`ovnpay pause`, `resume` and `wallet unfreeze`."""

import json
import sys
import uuid
from typing import NamedTuple

import sqlalchemy as sa

from shared.cli.operator import fail_command
from shared.cli.operator.actors import operator_login
from shared.cli.operator.environment import open_database
from shared.holds import outgoing_holds
from shared.holds.outgoing_holds import HoldRow, HoldScope
from shared.holds.reconcile_only import OutboundGuard, load_outbound_guard
from shared.onboarding.organizations import find_organization_id
from shared.platform.clock import SystemClock, format_rfc3339
from shared.platform.ids import WALLET, parse_id, public_id
from shared.schema.controls import HoldKind
from shared.schema.organizations import Mode
from shared.schema.payouts import Rail

# The wallet of an organization in one mode. No locks.
_WALLET_OF_ORGANIZATION = sa.text(
    "SELECT id FROM wallets WHERE organization_id = :id AND mode = :mode AND retired_at IS NULL"
)
# Organization and mode of a wallet. No locks.
_OWNER_OF_WALLET = sa.text("""
    SELECT name, mode FROM wallets JOIN organizations ON organizations.id = organization_id
    WHERE wallets.id = :id
""")


class ScopeOptions(NamedTuple):
    """Options that select money: exactly one of organization, rail, wallet, everything."""

    organization: str | None
    mode: str
    rail: str | None = None
    wallet: str | None = None
    everything: bool = False


def pause_outgoing(
    organization: str | None, mode: str, rail: str | None, reason: str | None, *, everything: bool
) -> None:
    """Put outgoing money on hold until `ovnpay resume`."""
    reason = (reason or "").strip()
    if not reason:
        fail_command("pause", "--reason is required", 2)
    options = ScopeOptions(organization, mode, rail=rail, everything=everything)
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _parse_scope(connection, "pause", options)
        now = SystemClock().now()
        placed = outgoing_holds.place_hold(connection, HoldKind.PAUSED, scope, reason, operator_login(), now)
        description = _describe_scope(connection, scope)
    if placed is None:
        print(f"already paused: {description}")
    else:
        print(f"paused: {description}; within 2 seconds nothing of it is sent to Paystream, until `ovnpay resume`")


def resume_outgoing(
    organization: str | None, mode: str, rail: str | None, reason: str | None, *, everything: bool
) -> None:
    """Lift a pause; waiting payouts are sent at once."""
    options = ScopeOptions(organization, mode, rail=rail, everything=everything)
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _parse_scope(connection, "resume", options)
        _lift(connection, HoldKind.PAUSED, scope, (reason or "").strip() or "resumed", "resume")


def unfreeze_wallet(organization: str | None, mode: str, wallet: str | None, reason: str, *, everything: bool) -> None:
    """Lift the freeze that a violated invariant placed."""
    if not reason.strip():
        fail_command("wallet unfreeze", "--reason must not be blank", 2)
    options = ScopeOptions(organization, mode, wallet=wallet, everything=everything)
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _parse_scope(connection, "wallet unfreeze", options)
        _lift(connection, HoldKind.FROZEN, scope, reason.strip(), "wallet unfreeze")


def print_holds(*, as_json: bool) -> None:
    """Print the active holds, oldest first."""
    with open_database() as (_, engine), engine.connect() as connection:
        holds = [(row, _describe_scope(connection, row.scope)) for row in outgoing_holds.load_active_holds(connection)]
        is_reconcile_only = load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY
    if as_json:
        print(json.dumps([_hold_json(row) for row, _ in holds]))
        return
    if is_reconcile_only:
        print("reconcile-only: nothing is sent until our record has been compared with Paystream's")
    elif not holds:
        print("nothing is on hold")
    for row, description in holds:
        print(f"{row.kind.value}  {description}  since {format_rfc3339(row.since)} by {row.placed_by}: {row.reason}")


def unfreeze_command(scope: HoldScope, owner: str | None) -> str:
    """Return the command that lifts a freeze."""
    option = f"--wallet {public_id(WALLET, scope.wallet_id)}" if scope.wallet_id else "--all"
    return f"ovnpay wallet unfreeze {option} --reason ..." + (f"  ({owner})" if owner else "")


def _lift(connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, command: str) -> None:
    connection.execute(sa.text("SET LOCAL statement_timeout = '5min'"))  # hundreds of thousands may become due
    lifted = outgoing_holds.lift_hold(connection, kind, scope, reason, operator_login(), SystemClock().now())
    description = _describe_scope(connection, scope)
    if lifted is None:
        fail_command(command, f"{description} is not {kind.value}")
    print(f"no longer {kind.value}: {description} (since {format_rfc3339(lifted.since)}: {lifted.reason})")
    for row in outgoing_holds.load_active_holds(connection):
        if row.scope == scope or row.scope == HoldScope():
            print(f"still {row.kind.value}: {_describe_scope(connection, row.scope)} ({row.reason})", file=sys.stderr)


def _parse_scope(connection: sa.Connection, command: str, options: ScopeOptions) -> HoldScope:
    """Exit with 2 unless the options select exactly one existing scope."""
    organization, mode, rail, wallet, everything = options
    if sum((organization is not None, rail is not None, wallet is not None, everything)) != 1:
        other = "--wallet" if command == "wallet unfreeze" else "--rail"
        fail_command(command, f"give exactly one of --organization, {other} and --all", 2)
    if everything:
        return HoldScope()
    if rail is not None:
        if rail not in set(Rail):
            fail_command(command, f"there is no rail {rail!r}; use {', '.join(Rail)}", 2)
        return HoldScope(rail=Rail(rail))
    wallet_id: uuid.UUID | None
    if wallet is not None:
        wallet_id = parse_id(WALLET, wallet)
    else:
        if mode not in set(Mode):
            fail_command(command, f"there is no mode {mode!r}; use {', '.join(Mode)}", 2)
        organization_id = find_organization_id(connection, organization or "")
        wallet_id = connection.scalar(_WALLET_OF_ORGANIZATION, {"id": organization_id, "mode": mode})
    if wallet_id is None:
        missing = f"wallet {wallet}" if wallet else f"organization {organization!r}"
        fail_command(command, f"there is no {missing}", 2)
    return HoldScope(wallet_id)


def _describe_scope(connection: sa.Connection, scope: HoldScope) -> str:
    if scope.wallet_id is None:
        return f"all outgoing money by {scope.rail.value}" if scope.rail else "all outgoing money"
    row = connection.execute(_OWNER_OF_WALLET, {"id": scope.wallet_id}).one_or_none()
    return f"{row.name}, {row.mode}" if row else public_id(WALLET, scope.wallet_id)


def _hold_json(row: HoldRow) -> dict[str, object]:
    return {
        "kind": row.kind.value,
        "scope": row.scope.name,
        "wallet": row.scope.wallet_id and public_id(WALLET, row.scope.wallet_id),
        "organization": row.organization,
        "mode": row.mode,
        "rail": row.scope.rail and row.scope.rail.value,
        "reason": row.reason,
        "placedBy": row.placed_by,
        "since": format_rfc3339(row.since),
    }
