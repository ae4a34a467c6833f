"""Dispatch: selects the queued payouts to submit now.

Standard payouts of a wallet share a provider call, up to a thousand in one; the provider accepts a thousand calls an
hour. With enough of that budget left, they are dispatched at once, together with the wallet's other queued payouts.
When it runs low, each wallet is dispatched once per dispatch window. Other rails never wait. Payouts under an outgoing
hold stay queued and can be canceled.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from shared.holds.conditions import on_hold_condition
from shared.payouts.lifecycle import status_condition

DISPATCHED_PAYOUTS_MAX: Final = 2_000
"""Payouts dispatched in one transaction."""

PACED_DISPATCHED_PAYOUTS_MAX: Final = 10_000
"""The same with dispatch windows: payouts left over would wait for the next one."""

# Returns queued payouts that are not under a hold, and whether they share a call. Locks nothing.
_DISPATCHABLE: Final = sa.text(f"""
    SELECT payouts.id, payouts.wallet_id, wallets.mode, rail = 'standard' AND scenario IS NULL AS shares
    FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("queued")} AND held_reason IS NULL
          AND NOT {on_hold_condition("payouts.wallet_id", "payouts.rail")}
""")

# Opens a dispatch window for wallets whose last one is over, and returns them. Locks them in id order (NO KEY UPDATE)
# and skips locked ones.
_OPEN_WINDOWS: Final = sa.text("""
    UPDATE wallets SET departed_at = clock_timestamp() WHERE id IN (
        SELECT id FROM wallets
        WHERE id = ANY(:wallets)
              AND coalesce(departed_at, '-infinity') <= clock_timestamp() - make_interval(secs => :window)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ) RETURNING id
""")

# Makes queued payouts due at their wallet's next dispatch window. Locks them in id order and skips locked ones.
_POSTPONE: Final = sa.text(f"""
    UPDATE payouts SET next_action_at = greatest(
        clock_timestamp(), wallets.departed_at + make_interval(secs => :window)
    )
    FROM wallets, (
        SELECT id FROM payouts WHERE id = ANY(:ids) AND {status_condition("queued")} AND held_reason IS NULL
        ORDER BY id FOR UPDATE SKIP LOCKED
    ) AS staying
    WHERE payouts.id = staying.id AND wallets.id = payouts.wallet_id
""")

# Returns other queued standard payouts of the wallets. Locks them in id order and skips locked ones.
_QUEUED_OTHERS: Final = sa.text(f"""
    SELECT id FROM payouts
    WHERE wallet_id = ANY(:wallets) AND status = 'queued' AND rail = 'standard' AND scenario IS NULL
          AND held_reason IS NULL AND NOT {on_hold_condition("payouts.wallet_id", "payouts.rail")} AND id <> ALL(:ids)
    ORDER BY id LIMIT :max FOR UPDATE SKIP LOCKED
""")


def split_by_batching(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID]
) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Return the dispatchable payouts: those sent alone, and those that share a call with others of their wallet."""
    rows = _load_dispatchable(connection, payout_ids)
    return [row.id for row in rows if not row.shares], [row.id for row in rows if row.shares]


def select_for_dispatch(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], window_seconds: Callable[[str], float]
) -> list[uuid.UUID]:
    """Return the payouts to submit now, with others of their wallets; the rest are due at the next dispatch window.

    `window_seconds` returns a mode's dispatch window; 0 means that the budget allows to dispatch at once.
    """
    rows = _load_dispatchable(connection, payout_ids)
    selected = [row.id for row in rows if not row.shares]
    for mode in sorted({row.mode for row in rows if row.shares}):
        sharing = [row for row in rows if row.shares and row.mode == mode]
        wallets = {row.wallet_id for row in sharing}
        window, max_payouts = window_seconds(mode), DISPATCHED_PAYOUTS_MAX
        if window > 0:
            max_payouts = PACED_DISPATCHED_PAYOUTS_MAX
            wallets = set(connection.scalars(_OPEN_WINDOWS, {"wallets": sorted(wallets), "window": window}))
            staying = [row.id for row in sharing if row.wallet_id not in wallets]
            connection.execute(_POSTPONE, {"ids": staying, "window": window})
        requested = [row.id for row in sharing if row.wallet_id in wallets]
        selected += requested
        # The requested payouts go first, so one wallet's large batch does not delay another wallet's payouts.
        if wallets and len(requested) < max_payouts:
            values = {"wallets": sorted(wallets), "ids": requested, "max": max_payouts - len(requested)}
            selected += connection.scalars(_QUEUED_OTHERS, values)
    return selected


def _load_dispatchable(connection: sa.Connection, payout_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    return connection.execute(_DISPATCHABLE, {"ids": list(payout_ids)}).all()
