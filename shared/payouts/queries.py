"""Reading payouts: one, or a part of a wallet's."""

import uuid
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from shared.ledger import list_counts
from shared.payouts.rows import PAYOUT_COLUMNS, PayoutRow
from shared.platform.database import encode_rows
from shared.platform.pagination import Page, PageRequest, select_page_ids

PAYOUTS_COUNTED_MAX = 100_000
"""How far payouts on their way are counted: what a payroll day has, and not millions."""

_FROM = "(SELECT payouts.*, drivers.name AS driver_name FROM payouts JOIN drivers ON drivers.id = payouts.driver_id)"


def load_payout(connection: sa.Connection, wallet_id: uuid.UUID, payout_id: uuid.UUID) -> PayoutRow | None:
    """One payout of the wallet; None if it has none by that id."""
    row = connection.execute(
        sa.text(f"SELECT {PAYOUT_COLUMNS} FROM {_FROM} AS found WHERE wallet_id = :wallet_id AND id = :id"),
        {"wallet_id": wallet_id, "id": payout_id},
    ).one_or_none()
    return None if row is None else PayoutRow._make(row)


def previous_statuses(connection: sa.Connection, rows: Iterable[PayoutRow]) -> dict[uuid.UUID, str]:
    """What each of these payouts was before its last step, by its history."""
    steps = encode_rows({"payout_id": row.id, "sequence": row.sequence} for row in rows)
    found = connection.execute(
        sa.text("""
            SELECT payout_id, from_status FROM payout_transitions
            JOIN json_to_recordset(CAST(:steps AS json)) AS step (payout_id uuid, sequence int)
            USING (payout_id, sequence)
        """),
        {"steps": steps},
    )
    return {row.payout_id: row.from_status for row in found}


def load_payout_page(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    wanted: PageRequest,
    *,
    status: str | None = None,
    driver_id: uuid.UUID | None = None,
    ids: Collection[uuid.UUID] | None = None,
) -> Page[PayoutRow]:
    """A part of the wallet's payouts, newest first, filtered by status and driver, and to certain ids (payouts, or
    batches whose payouts are meant). An unknown driver has none.
    """
    if ids is not None and not ids:
        return Page([], 0, more=False)
    if driver_id is None:
        where = "wallet_id = :wallet_id"
    else:  # by the driver's index alone: he has one wallet, and it is checked once instead of for each payout
        where = (
            "driver_id = :driver_id AND EXISTS (SELECT FROM drivers WHERE id = :driver_id AND wallet_id = :wallet_id)"
        )
    values: dict[str, Any] = {"wallet_id": wallet_id, "driver_id": driver_id}
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status
    if ids is not None:
        where, values["ids"] = f"{where} AND (id = ANY(:ids) OR batch_id = ANY(:ids))", list(ids)
    found, more = select_page_ids(connection, "payouts", where, values, wanted)
    rows = connection.execute(
        sa.text(f"SELECT {PAYOUT_COLUMNS} FROM {_FROM} AS found WHERE id = ANY(:ids) ORDER BY id DESC"), {"ids": found}
    )
    return Page([PayoutRow._make(row) for row in rows], _total(connection, where, values), more)


def _total(connection: sa.Connection, where: str, values: dict[str, Any]) -> int:
    """How many there are in all: from the kept counts, or counted where there can't be many."""
    wallet_id, driver_id, status = values["wallet_id"], values["driver_id"], values.get("status")
    if "ids" not in values:
        if driver_id is None and status is None:
            return list_counts.sum_counts(connection, wallet_id, list_counts.PAYOUTS_COUNT)
        if driver_id is None and status in list_counts.COUNTED_STATUSES:
            return list_counts.sum_counts(connection, wallet_id, f"payouts:{status}")
        if status is None:
            counted = "SELECT payout_count FROM drivers WHERE id = :driver_id AND wallet_id = :wallet_id"
            return connection.scalar(sa.text(counted), values) or 0
    counted = f"SELECT count(*) FROM (SELECT FROM payouts WHERE {where} LIMIT :most) AS counted"
    return connection.scalar(sa.text(counted), values | {"most": PAYOUTS_COUNTED_MAX}) or 0
