"""Departures: which queued payouts go to the provider now, and which wait for others to travel with.

Standard payouts of a wallet travel together, up to a thousand in a call, and the provider takes a thousand calls an
hour. While there is room for more they leave at once, with whatever else of their wallet waits; where it gets tight
they leave one behind the other by a pace. Other rails don't wait. What is held stays: as `queued`, so that it can still
be canceled.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from shared.holds.conditions import on_hold_condition
from shared.payouts.lifecycle import status_condition

DISPATCHED_PAYOUTS_MAX: Final = 2_000
"""How many leave in one transaction."""

PACED_DISPATCHED_PAYOUTS_MAX: Final = 10_000
"""The same where the next ones have to wait."""

_ASKED = sa.text(f"""
    SELECT payouts.id, payouts.wallet_id, wallets.mode, rail = 'standard' AND scenario IS NULL AS shares
    FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("queued")} AND held_reason IS NULL
          AND NOT {on_hold_condition("payouts.wallet_id", "payouts.rail")}
""")

_LEAVE = sa.text("""
    UPDATE wallets SET departed_at = clock_timestamp() WHERE id IN (
        SELECT id FROM wallets
        WHERE id = ANY(:wallets)
              AND coalesce(departed_at, '-infinity') <= clock_timestamp() - make_interval(secs => :pace)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ) RETURNING id
""")

_PUT_OFF = sa.text(f"""
    UPDATE payouts SET next_action_at = greatest(
        clock_timestamp(), wallets.departed_at + make_interval(secs => :pace)
    )
    FROM wallets, (
        SELECT id FROM payouts WHERE id = ANY(:ids) AND {status_condition("queued")} AND held_reason IS NULL
        ORDER BY id FOR UPDATE SKIP LOCKED
    ) AS staying
    WHERE payouts.id = staying.id AND wallets.id = payouts.wallet_id
""")

_OTHERS = sa.text(f"""
    SELECT id FROM payouts
    WHERE wallet_id = ANY(:wallets) AND status = 'queued' AND rail = 'standard' AND scenario IS NULL
          AND held_reason IS NULL AND NOT {on_hold_condition("payouts.wallet_id", "payouts.rail")} AND id <> ALL(:ids)
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
""")


def split_by_batching(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID]
) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Those of the payouts that leave alone, and those that share a call with others of their wallet. Neither what has
    left already nor what is held.
    """
    asked = _asked(connection, payout_ids)
    return [row.id for row in asked if not row.shares], [row.id for row in asked if row.shares]


def select_for_dispatch(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], pace_seconds: Callable[[str], float]
) -> list[uuid.UUID]:
    """Those of the payouts that leave now, with others that leave with them; the rest are due again when their wallet's
    turn comes. `pace_seconds` says for a mode how long its wallets' departures are apart.
    """
    asked = _asked(connection, payout_ids)
    leaving = [row.id for row in asked if not row.shares]
    for mode in sorted({row.mode for row in asked if row.shares}):
        sharing = [row for row in asked if row.shares and row.mode == mode]
        wallets = {row.wallet_id for row in sharing}
        pace, most = pace_seconds(mode), DISPATCHED_PAYOUTS_MAX
        if pace > 0:
            most = PACED_DISPATCHED_PAYOUTS_MAX
            wallets = set(connection.scalars(_LEAVE, {"wallets": sorted(wallets), "pace": pace}))
            staying = [row.id for row in sharing if row.wallet_id not in wallets]
            connection.execute(_PUT_OFF, {"ids": staying, "pace": pace})
        mine = [row.id for row in sharing if row.wallet_id in wallets]
        leaving += mine
        if wallets and len(mine) < most:  # those that were asked for go first: a large batch keeps no other wallet's
            room = {"wallets": sorted(wallets), "ids": mine, "most": most - len(mine)}
            leaving += connection.scalars(_OTHERS, room)
    return leaving


def _asked(connection: sa.Connection, payout_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    return connection.execute(_ASKED, {"ids": list(payout_ids)}).all()
