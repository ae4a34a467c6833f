"""Compare the provider's balance with our ledger while no money is in progress.

The gap between them is constant (fees, and what the provider held before); any other gap is a case.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.controls.reconciliation.provider_pages import load_provider_balance_cents
from shared.controls.reconciliation.reconciler import Reconciler
from shared.controls.reconciliation.runs import StartedRun
from shared.holds.cases import Difference
from shared.schema.controls import CaseKind, RunCause


class BalanceComparison(NamedTuple):
    gap_cents: int | None
    differences: list[Difference]


def compare_balance(reconciler: Reconciler, run: StartedRun) -> BalanceComparison:
    """Compare a mode's balances, unless money is in progress or the ledger is old after a restore.

    Raises:
        ProviderRecordUnavailable: the provider's balance can't be read.
    """
    with reconciler.engine.connect() as connection:
        if run.cause is RunCause.RESTORE:
            return BalanceComparison(None, _open_balance_case(connection, run.mode))
        before_cents = _ledger_balance_cents(connection, run.mode)
    provider_cents = load_provider_balance_cents(reconciler.paystream, run.mode, reconciler.wait)
    with reconciler.engine.connect() as connection:
        if before_cents is None or before_cents != _ledger_balance_cents(connection, run.mode):
            return BalanceComparison(None, _open_balance_case(connection, run.mode))
        gap_cents = provider_cents - before_cents
        usual_cents = _usual_gap_cents(connection, run.mode)
    if usual_cents is None or usual_cents == gap_cents:
        return BalanceComparison(gap_cents, [])
    ours, theirs = {"balance": before_cents + usual_cents}, {"balance": provider_cents, "gap": gap_cents}
    difference = Difference(CaseKind.BALANCE, run.mode, reconciler.clock.now(), ours, theirs)
    return BalanceComparison(gap_cents, [difference])


# What has left or not reached our wallets, without play money, and whether money is in progress. No locks.
_LEDGER_BALANCE: Final = sa.text("""
    SELECT coalesce((SELECT sum(balance_cents) FROM accounts JOIN wallets ON wallets.id = wallet_id
                     WHERE mode = :mode AND kind IN ('external', 'pending_funding')), 0)
           + coalesce((SELECT sum(amount_cents) FROM topups JOIN wallets ON wallets.id = wallet_id
                       WHERE mode = :mode AND method = 'sandbox_grant'), 0) AS away_cents,
           EXISTS (SELECT FROM wallets CROSS JOIN LATERAL (
                       SELECT FROM payouts
                       WHERE payouts.wallet_id = wallets.id AND status = 'processing' LIMIT 1
                   ) AS sent WHERE mode = :mode)
           OR EXISTS (SELECT FROM topups JOIN wallets ON wallets.id = wallet_id
                      WHERE mode = :mode AND status = 'pending') AS in_progress
""")


def _ledger_balance_cents(connection: sa.Connection, mode: str) -> int | None:
    """Return what the provider should hold, up to the gap; None while money is in progress."""
    row = connection.execute(_LEDGER_BALANCE, {"mode": mode}).one()
    return None if row.in_progress else -int(row.away_cents)


# The gap that a person accepted last by closing its case, or the first one measured. No locks.
_USUAL_GAP: Final = sa.text("""
    SELECT coalesce(
        (SELECT CAST(theirs ->> 'gap' AS bigint) FROM reconciliation_cases
         WHERE kind = 'balance' AND mode = :mode AND closed_by <> 'system' ORDER BY closed_at DESC LIMIT 1),
        (SELECT balance_gap_cents FROM reconciliation_runs
         WHERE mode = :mode AND balance_gap_cents IS NOT NULL ORDER BY id LIMIT 1))
""")


def _usual_gap_cents(connection: sa.Connection, mode: str) -> int | None:
    found = connection.scalar(_USUAL_GAP, {"mode": mode})
    return None if found is None else int(found)


def _open_balance_case(connection: sa.Connection, mode: str) -> list[Difference]:
    """Return the open case's difference, to keep it open."""
    rows = connection.execute(
        sa.text("""
            SELECT about_at, ours, theirs FROM reconciliation_cases
            WHERE kind = 'balance' AND mode = :mode AND closed_at IS NULL
        """),
        {"mode": mode},
    )
    return [Difference(CaseKind.BALANCE, mode, row.about_at, row.ours, row.theirs) for row in rows]
