"""`ovnpay verify`: checks invariants and freezes wallets with a violation."""

import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from shared.cli.operator import fail_command
from shared.cli.operator.environment import open_database
from shared.cli.operator.outgoing_holds import unfreeze_command
from shared.controls import invariants
from shared.controls.invariants import INVARIANTS, INVARIANTS_BY_NAME, CheckResult
from shared.controls.invariants.check import snapshot_time
from shared.controls.invariants.sweep import record_full_check
from shared.holds import outgoing_holds
from shared.onboarding.organizations import find_organization_id
from shared.platform.clock import SystemClock
from shared.platform.ids import WALLET, public_id
from shared.schema.controls import Violation

VIOLATIONS_SHOWN_MAX = 20
"""Printed violations of each invariant; `--json` has all that were kept."""

Owners = Mapping[uuid.UUID | None, str]
"""Organization and mode of each wallet, for people."""

# Wallets of an organization, retired ones included. No locks.
_WALLET_IDS = sa.text("SELECT id FROM wallets WHERE organization_id = :id ORDER BY id")
# Organization and mode of wallets. No locks.
_OWNERS = sa.text("""
    SELECT wallets.id, name, mode FROM wallets JOIN organizations ON organizations.id = organization_id
    WHERE wallets.id = ANY(:ids)
""")


def run_verification(names: Sequence[str], organization: str | None, *, as_json: bool, freeze: bool) -> None:
    """Check the named invariants, or all; exit with 1 if one is violated."""
    if unknown := [name for name in names if name not in INVARIANTS_BY_NAME]:
        known = ", ".join(INVARIANTS_BY_NAME)
        fail_command("verify", f"no invariant is named {', '.join(unknown)}; the names are {known}", 2)
    selected = [INVARIANTS_BY_NAME[name] for name in dict.fromkeys(names)] or list(INVARIANTS)
    with open_database() as (_, engine):
        wallet_ids = None if organization is None else _wallet_ids(engine, organization)
        with engine.connect() as connection:
            began_at = snapshot_time(connection)
        results = invariants.check_invariants(engine, selected, wallet_ids, _progress())
        violations = [violation for result in results for violation in result.violations]
        frozen: list[outgoing_holds.HoldScope] = []
        if freeze:
            with engine.begin() as connection:
                frozen = outgoing_holds.freeze_outgoing(connection, violations, SystemClock().now())
                for result in results if wallet_ids is None else ():
                    record_full_check(connection, result, began_at)
        owners = _load_owners(engine, {violation.wallet_id for violation in violations if violation.wallet_id})
    if as_json:
        print(json.dumps(_document(results, frozen, owners)))
    else:
        _print_results(results, owners)
        _print_frozen(frozen, owners)
    if violations:
        raise SystemExit(1)


def _wallet_ids(engine: sa.Engine, organization: str) -> list[uuid.UUID]:
    with engine.connect() as connection:
        organization_id = find_organization_id(connection, organization)
        if organization_id is None:
            fail_command("verify", f"there is no organization named {organization!r}", 2)
        return list(connection.scalars(_WALLET_IDS, {"id": organization_id}))


def _load_owners(engine: sa.Engine, wallet_ids: set[uuid.UUID]) -> Owners:
    with engine.connect() as connection:
        rows = connection.execute(_OWNERS, {"ids": list(wallet_ids)})
        return {row.id: f"{row.name}, {row.mode}" for row in rows}


def _progress() -> Callable[[str, int], None]:
    if not sys.stderr.isatty():
        return lambda subject, checked: None
    return lambda subject, checked: print(f"\r\x1b[K{subject}: {checked:,}", end="", file=sys.stderr, flush=True)


def _document(
    results: Sequence[CheckResult], frozen: Sequence[outgoing_holds.HoldScope], owners: Owners
) -> dict[str, object]:
    def violation_json(violation: Violation) -> dict[str, object]:
        wallet = violation.wallet_id and public_id(WALLET, violation.wallet_id)
        return {"wallet": wallet, "owner": owners.get(violation.wallet_id), "explanation": violation.explanation}

    return {
        "holds": not any(result.violations for result in results),
        "invariants": [
            {
                "name": result.name,
                "law": result.description,
                "checked": result.checked,
                "seconds": round(result.seconds, 3),
                "breaks": [violation_json(violation) for violation in result.violations],
            }
            for result in results
        ],
        "frozen": [(scope.wallet_id and public_id(WALLET, scope.wallet_id)) or "all" for scope in frozen],
    }


def _print_results(results: Sequence[CheckResult], owners: Owners) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    width = max(len(result.name) for result in results)
    for result in results:
        outcome = f"VIOLATED, {len(result.violations)} times" if result.violations else "ok"
        print(f"{result.name:{width}}  {outcome} ({result.checked:,} rows, {result.seconds:.1f} s)")
    for result in results:
        if not result.violations:
            continue
        print(f"\n{result.name} is violated. It requires: {result.description}. Violations:", file=sys.stderr)
        for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
            print(f"  {owners.get(violation.wallet_id, 'no wallet')}: {violation.explanation}", file=sys.stderr)
        if len(result.violations) > VIOLATIONS_SHOWN_MAX:
            print(f"  and {len(result.violations) - VIOLATIONS_SHOWN_MAX} more: use --json", file=sys.stderr)


def _print_frozen(frozen: Sequence[outgoing_holds.HoldScope], owners: Owners) -> None:
    for scope in frozen:
        owner = owners.get(scope.wallet_id, "every wallet")
        print(f"\nFrozen: nothing of {owner} is sent to Paystream. After the cause is fixed:", file=sys.stderr)
        print(f"  {unfreeze_command(scope, owners.get(scope.wallet_id))}", file=sys.stderr)
