"""Commands on outgoing money: pause, resume, unfreeze, and what is held."""

import json
import sys
import uuid
from typing import NoReturn

import sqlalchemy as sa

from shared.cli.operator.database import open_database
from shared.holds import outgoing_holds
from shared.holds.outgoing_holds import HoldRow, HoldScope
from shared.holds.reconcile_only import OutboundGuard, load_outbound_guard
from shared.identity import audit
from shared.onboarding.organizations import find_organization_id
from shared.platform.clock import SystemClock, format_rfc3339
from shared.platform.ids import WALLET, parse_id, public_id
from shared.schema.controls import HoldKind
from shared.schema.organizations import Mode
from shared.schema.payouts import Rail


def pause_outgoing(
    organization: str | None, mode: str, rail: str | None, reason: str | None, *, everything: bool
) -> None:
    """Holds outgoing money until somebody resumes it."""
    if not (reason or "").strip():
        _misused("pause", "--reason is needed: it tells the next person why nothing leaves")
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _scope(connection, "pause", organization, mode, rail, None, everything=everything)
        assert reason is not None
        made = outgoing_holds.place_hold(connection, HoldKind.PAUSED, scope, reason.strip(), _me(), SystemClock().now())
        said = _named(connection, scope)
    if made is None:
        print(f"paused already: {said}")
    else:
        print(f"paused: {said}; nothing of it leaves for Paystream from within 2 seconds on, until `ovnpay resume`")


def resume_outgoing(
    organization: str | None, mode: str, rail: str | None, reason: str | None, *, everything: bool
) -> None:
    """Lifts a pause; what waited leaves at once."""
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _scope(connection, "resume", organization, mode, rail, None, everything=everything)
        _lift(connection, HoldKind.PAUSED, scope, (reason or "").strip() or "resumed", "ovnpay resume")


def unfreeze_wallet(organization: str | None, mode: str, wallet: str | None, reason: str, *, everything: bool) -> None:
    """Lifts what a broken invariant has frozen."""
    if not reason.strip():
        _misused("wallet unfreeze", "--reason must say why the money may leave again")
    with open_database() as (_, engine), engine.begin() as connection:
        scope = _scope(connection, "wallet unfreeze", organization, mode, None, wallet, everything=everything)
        _lift(connection, HoldKind.FROZEN, scope, reason.strip(), "ovnpay wallet unfreeze")


def print_holds(*, as_json: bool) -> None:
    """Shows what is held, the oldest first."""
    with open_database() as (_, engine), engine.connect() as connection:
        found = [(row, _named(connection, row.scope)) for row in outgoing_holds.load_active_holds(connection)]
        compares = load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY
    if as_json:
        print(json.dumps([_as_json(row) for row, _ in found]))
        return
    if compares:
        print("reconcile-only: nothing leaves until Paystream's record was compared")
    elif not found:
        print("nothing is held: outgoing money leaves")
    for row, name in found:
        print(f"{row.kind.value}  {name}  since {format_rfc3339(row.since)} by {row.placed_by}: {row.reason}")


def unfreeze_command(scope: HoldScope, owner: str | None) -> str:
    """What to type once a frozen wallet was mended."""
    whose = f"--wallet {public_id(WALLET, scope.wallet_id)}" if scope.wallet_id else "--all"
    return f"ovnpay wallet unfreeze {whose} --reason ..." + (f"  ({owner})" if owner else "")


def _lift(connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, command: str) -> None:
    connection.execute(sa.text("SET LOCAL statement_timeout = '5min'"))  # hundreds of thousands may have waited
    lifted = outgoing_holds.lift_hold(connection, kind, scope, reason, _me(), SystemClock().now())
    name = _named(connection, scope)
    if lifted is None:
        print(f"{command}: {name} is not {kind.value}", file=sys.stderr)
        raise SystemExit(1)
    print(f"{kind.value} no more: {name}, which was since {format_rfc3339(lifted.since)} ({lifted.reason})")
    for row in outgoing_holds.load_active_holds(connection):
        if row.scope == scope or row.scope == HoldScope():
            print(f"but still {row.kind.value}: {_named(connection, row.scope)} ({row.reason})", file=sys.stderr)


def _scope(
    connection: sa.Connection,
    command: str,
    organization: str | None,
    mode: str,
    rail: str | None,
    wallet: str | None,
    *,
    everything: bool,
) -> HoldScope:
    """What the options name; exits with 2 where they name nothing, or several things."""
    if sum((organization is not None, rail is not None, wallet is not None, everything)) != 1:
        others = "--wallet" if command == "wallet unfreeze" else "--rail"
        _misused(command, f"say whose money: one of --organization, {others} and --all")
    if everything:
        return HoldScope()
    if rail is not None:
        if rail not in set(Rail):
            _misused(command, f"there is no rail {rail!r}; say {', '.join(Rail)}")
        return HoldScope(rail=Rail(rail))
    wallet_id: uuid.UUID | None
    if wallet is not None:
        wallet_id = parse_id(WALLET, wallet)
    else:
        if mode not in set(Mode):
            _misused(command, f"there is no mode {mode!r}; say {', '.join(Mode)}")
        wallet_id = connection.scalar(
            sa.text("SELECT id FROM wallets WHERE organization_id = :id AND mode = :mode AND retired_at IS NULL"),
            {"id": find_organization_id(connection, organization or ""), "mode": mode},
        )
    if wallet_id is None:
        _misused(command, f"there is no wallet {wallet}" if wallet else f"there is no organization {organization!r}")
    return HoldScope(wallet_id)


def _named(connection: sa.Connection, scope: HoldScope) -> str:
    """The scope for people."""
    if scope.wallet_id is None:
        return f"all outgoing money by {scope.rail.value}" if scope.rail else "all outgoing money"
    row = connection.execute(
        sa.text("""
            SELECT name, mode FROM wallets JOIN organizations ON organizations.id = organization_id
            WHERE wallets.id = :id
        """),
        {"id": scope.wallet_id},
    ).one_or_none()
    return f"{row.name}, {row.mode}" if row else public_id(WALLET, scope.wallet_id)


def _as_json(row: HoldRow) -> dict[str, object]:
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


def _me() -> str:
    return audit.operator_actor(uuid.UUID(int=0)).address or "?"


def _misused(command: str, sentence: str) -> NoReturn:
    print(f"ovnpay {command}: {sentence}", file=sys.stderr)
    raise SystemExit(2)
