"""Duplicate loads: finds a live payout for the same driver and load, to warn of a second one or refuse it."""

import uuid
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict
from shared.platform.ids import PAYOUT, public_id
from shared.platform.pipelined_queries import Query, run_queries

DriverLoad = tuple[uuid.UUID, str]
"""A driver's id and a load id."""


# Returns the first live payout of each wanted load, matching a driver registered again by ovn_driver_id. Locks nothing.
# There is no LIMIT in the lateral subquery: with one, the planner walks through all payouts of the driver by id.
_LIVE_PAYOUTS: Final = sa.text("""
    SELECT DISTINCT ON (wanted.driver_id, wanted.load_id) wanted.driver_id, wanted.load_id, first.id
    FROM json_to_recordset(CAST(:loads AS json)) AS wanted (driver_id uuid, load_id text)
    JOIN drivers AS named ON named.id = wanted.driver_id
    JOIN drivers AS same ON same.wallet_id = named.wallet_id AND same.ovn_driver_id = named.ovn_driver_id
    JOIN LATERAL (
        SELECT id FROM payouts
        WHERE payouts.driver_id = same.id AND payouts.load_id = wanted.load_id AND payouts.load_id IS NOT NULL
              AND (status IN ('validated', 'queued', 'processing', 'completed') OR held_reason IS NOT NULL)
        OFFSET 0
    ) AS first ON true
    ORDER BY wanted.driver_id, wanted.load_id, first.id
""")


def live_payouts_query(loads: Collection[DriverLoad]) -> Query[dict[DriverLoad, uuid.UUID]] | None:
    """Query that performs `live_payouts_by_load`, or None without loads."""
    if not loads:
        return None
    wanted = encode_rows({"driver_id": driver_id, "load_id": load_id} for driver_id, load_id in loads)
    return Query(_LIVE_PAYOUTS, {"loads": wanted}, lambda rows: {(row[0], row[1]): row[2] for row in rows})


def live_payouts_by_load(connection: sa.Connection, loads: Collection[DriverLoad]) -> dict[DriverLoad, uuid.UUID]:
    """The first live payout of each load: not failed, canceled or returned, or on hold.

    The caller has the wallets locked, as has every writer of payouts: two concurrent requests can't both find a load
    free.
    """
    [found] = run_queries(connection, live_payouts_query(loads))
    return found or {}


def add_live_payout(live_payouts: dict[DriverLoad, uuid.UUID], row: PayoutRow) -> None:
    """Count a payout that is about to be written, to recognize the next one for its load in the same request."""
    if row.load_id is not None:
        live_payouts.setdefault((row.driver_id, row.load_id), row.id)


def duplicate_payout_error(payout_id: uuid.UUID, hint: str) -> Conflict:
    """The error for a second payout of a load where the wallet's policy refuses it."""
    first = public_id(PAYOUT, payout_id)
    return Conflict(
        f"{first} pays this driver for this load already; {hint}",
        code="DUPLICATE_PAYOUT",
        field="loadId",
        payoutId=first,
    )
