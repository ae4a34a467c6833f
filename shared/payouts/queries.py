"""Queries of payouts."""

import uuid
from collections.abc import Collection, Iterable
from typing import Any, Final

import sqlalchemy as sa

from shared.ledger import list_counts
from shared.payouts.rows import PAYOUT_COLUMNS, PayoutRow
from shared.platform.database import encode_rows
from shared.platform.pagination import Page, PageRequest, select_page_ids

PAYOUTS_COUNTED_MAX: Final = 100_000
"""Payouts without a stored count, such as the open ones, are counted up to this number."""

_PAYOUTS: Final = (
    "(SELECT payouts.*, drivers.name AS driver_name FROM payouts JOIN drivers ON drivers.id = payouts.driver_id)"
)

# Returns one payout of the wallet. Locks nothing.
_PAYOUT: Final = sa.text(f"SELECT {PAYOUT_COLUMNS} FROM {_PAYOUTS} AS found WHERE wallet_id = :wallet_id AND id = :id")

# Returns payouts by id, newest first. Locks nothing.
_PAYOUTS_BY_ID: Final = sa.text(
    f"SELECT {PAYOUT_COLUMNS} FROM {_PAYOUTS} AS found WHERE id = ANY(:ids) ORDER BY id DESC"
)

# Returns the status before each payout's latest transition. Locks nothing.
_PREVIOUS_STATUSES: Final = sa.text("""
    SELECT payout_id, from_status FROM payout_transitions
    JOIN json_to_recordset(CAST(:steps AS json)) AS step (payout_id uuid, sequence int)
    USING (payout_id, sequence)
""")

# Returns the stored payout count of a wallet's driver. Locks nothing.
_DRIVER_PAYOUT_COUNT: Final = sa.text(
    "SELECT payout_count FROM drivers WHERE id = :driver_id AND wallet_id = :wallet_id"
)

# A driver has one wallet: checked once, instead of for each payout, so the driver's index alone is read.
_OF_WALLET: Final = "wallet_id = :wallet_id"
_OF_DRIVER: Final = (
    "driver_id = :driver_id AND EXISTS (SELECT FROM drivers WHERE id = :driver_id AND wallet_id = :wallet_id)"
)


def load_payout(connection: sa.Connection, wallet_id: uuid.UUID, payout_id: uuid.UUID) -> PayoutRow | None:
    """One payout of the wallet, or None."""
    row = connection.execute(_PAYOUT, {"wallet_id": wallet_id, "id": payout_id}).one_or_none()
    return None if row is None else PayoutRow._make(row)


def previous_statuses(connection: sa.Connection, rows: Iterable[PayoutRow]) -> dict[uuid.UUID, str]:
    """Each payout's status before its latest transition."""
    steps = encode_rows({"payout_id": row.id, "sequence": row.sequence} for row in rows)
    found = connection.execute(_PREVIOUS_STATUSES, {"steps": steps})
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
    """A page of the wallet's payouts, newest first. `ids` are ids of payouts, or of batches."""
    if ids is not None and not ids:
        return Page([], 0, more=False)
    where = _OF_WALLET if driver_id is None else _OF_DRIVER
    values: dict[str, Any] = {"wallet_id": wallet_id, "driver_id": driver_id}
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status
    if ids is not None:
        where, values["ids"] = f"{where} AND (id = ANY(:ids) OR batch_id = ANY(:ids))", list(ids)
    found, more = select_page_ids(connection, "payouts", where, values, wanted)
    rows = connection.execute(_PAYOUTS_BY_ID, {"ids": found})
    return Page([PayoutRow._make(row) for row in rows], _count(connection, where, values), more)


def _count(connection: sa.Connection, where: str, values: dict[str, Any]) -> int:
    wallet_id, driver_id, status = values["wallet_id"], values["driver_id"], values.get("status")
    if "ids" not in values:
        if driver_id is None and status is None:
            return list_counts.sum_counts(connection, wallet_id, list_counts.PAYOUTS_COUNT)
        if driver_id is None and status in list_counts.COUNTED_STATUSES:
            return list_counts.sum_counts(connection, wallet_id, f"payouts:{status}")
        if status is None:
            return connection.scalar(_DRIVER_PAYOUT_COUNT, values) or 0
    statement = sa.text(f"SELECT count(*) FROM (SELECT FROM payouts WHERE {where} LIMIT :max) AS counted")
    return connection.scalar(statement, values | {"max": PAYOUTS_COUNTED_MAX}) or 0
