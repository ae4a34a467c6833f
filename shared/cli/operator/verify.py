"""`ovnpay verify`: proves every invariant, explains each break, and freezes the money that it is about."""

import json
import sys
import uuid
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from shared.cli.operator.database import open_database
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
"""How many breaks of a law are printed; `--json` has all that were kept."""


def run_verification(names: Sequence[str], organization: str | None, *, as_json: bool, freeze: bool) -> None:
    """Proves what is asked for; exits with 1 if anything is broken."""
    if unknown := [name for name in names if name not in INVARIANTS_BY_NAME]:
        there_are = ", ".join(INVARIANTS_BY_NAME)
        print(f"ovnpay verify: no invariant is named {', '.join(unknown)}; there are {there_are}", file=sys.stderr)
        raise SystemExit(2)
    laws = [INVARIANTS_BY_NAME[name] for name in dict.fromkeys(names)] or list(INVARIANTS)
    with open_database() as (_, engine):
        wallets = None if organization is None else _wallets(engine, organization)
        with engine.connect() as connection:
            began = snapshot_time(connection)
        proofs = invariants.check_invariants(engine, laws, wallets, _progress())
        found = [one for proof in proofs for one in proof.breaks]
        frozen: list[outgoing_holds.HoldScope] = []
        if freeze:
            with engine.begin() as connection:
                frozen = outgoing_holds.freeze_outgoing(connection, found, SystemClock().now())
                for proof in proofs if wallets is None else ():
                    record_full_check(connection, proof, began)
        owners = _owners(engine, {one.wallet_id for one in found if one.wallet_id})
    if as_json:
        print(json.dumps(_as_json(proofs, frozen, owners)))
    else:
        _tell(proofs, frozen, owners)
    if found:
        raise SystemExit(1)


def _wallets(engine: sa.Engine, organization: str) -> list[uuid.UUID]:
    with engine.connect() as connection:
        organization_id = find_organization_id(connection, organization)
        if organization_id is None:
            print(f"ovnpay verify: there is no organization named {organization!r}", file=sys.stderr)
            raise SystemExit(2)
        wallets = connection.scalars(
            sa.text("SELECT id FROM wallets WHERE organization_id = :id ORDER BY id"), {"id": organization_id}
        )
        return list(wallets)


def _owners(engine: sa.Engine, wallet_ids: set[uuid.UUID]) -> dict[uuid.UUID | None, str]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT wallets.id, name, mode FROM wallets JOIN organizations ON organizations.id = organization_id
                WHERE wallets.id = ANY(:ids)
            """),
            {"ids": list(wallet_ids)},
        )
        return {row.id: f"{row.name}, {row.mode}" for row in rows}


def _progress() -> Callable[[str, int], None]:
    """Says on a terminal how far it is."""
    if not sys.stderr.isatty():
        return lambda subject, checked: None
    return lambda subject, checked: print(f"\r\x1b[K{subject}: {checked:,}", end="", file=sys.stderr, flush=True)


def _as_json(
    proofs: Sequence[CheckResult], frozen: Sequence[outgoing_holds.HoldScope], owners: dict[uuid.UUID | None, str]
) -> dict[str, object]:
    def shown(one: Violation) -> dict[str, object]:
        wallet = one.wallet_id and public_id(WALLET, one.wallet_id)
        return {"wallet": wallet, "owner": owners.get(one.wallet_id), "explanation": one.explanation}

    return {
        "holds": not any(proof.breaks for proof in proofs),
        "invariants": [
            {
                "name": proof.name,
                "law": proof.law,
                "checked": proof.checked,
                "seconds": round(proof.seconds, 3),
                "breaks": [shown(one) for one in proof.breaks],
            }
            for proof in proofs
        ],
        "frozen": [(scope.wallet_id and public_id(WALLET, scope.wallet_id)) or "all" for scope in frozen],
    }


def _tell(
    proofs: Sequence[CheckResult], frozen: Sequence[outgoing_holds.HoldScope], owners: dict[uuid.UUID | None, str]
) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    width = max(len(proof.name) for proof in proofs)
    for proof in proofs:
        verdict = f"BROKEN, {len(proof.breaks)} times" if proof.breaks else "holds"
        print(f"{proof.name:{width}}  {verdict} ({proof.checked:,} rows, {proof.seconds:.1f} s)")
    for proof in proofs:
        if not proof.breaks:
            continue
        print(f"\n{proof.name} is broken. {proof.law}; but:", file=sys.stderr)
        for one in proof.breaks[:VIOLATIONS_SHOWN_MAX]:
            owner = owners.get(one.wallet_id, "no wallet")
            print(f"  {owner}: {one.explanation}", file=sys.stderr)
        if len(proof.breaks) > VIOLATIONS_SHOWN_MAX:
            print(f"  and {len(proof.breaks) - VIOLATIONS_SHOWN_MAX} more: --json has them", file=sys.stderr)
    for scope in frozen:
        whose = owners.get(scope.wallet_id, "every wallet")
        print(f"\nFrozen: nothing leaves {whose} for Paystream. Once it is mended:", file=sys.stderr)
        print(f"  {unfreeze_command(scope, owners.get(scope.wallet_id))}", file=sys.stderr)
