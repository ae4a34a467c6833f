"""Reading payouts: one, or a page of a wallet's."""

import uuid
from typing import Any, NamedTuple

import sqlalchemy as sa

from shared.payouts.rows import COLUMNS, PayoutRow

_FROM = "(SELECT payouts.*, drivers.name AS driver_name FROM payouts JOIN drivers ON drivers.id = payouts.driver_id)"


class Page(NamedTuple):
    """A page of payouts, newest first."""

    rows: list[PayoutRow]
    total: int


def get(connection: sa.Connection, wallet_id: uuid.UUID, payout_id: uuid.UUID) -> PayoutRow | None:
    """One payout of the wallet; None if it has none by that id."""
    row = connection.execute(
        sa.text(f"SELECT {COLUMNS} FROM {_FROM} AS found WHERE wallet_id = :wallet_id AND id = :id"),
        {"wallet_id": wallet_id, "id": payout_id},
    ).one_or_none()
    return None if row is None else PayoutRow._make(row)


def page(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    *,
    number: int,
    size: int,
    status: str | None = None,
    driver_id: uuid.UUID | None = None,
) -> Page:
    """Page `number` (from 1) of the wallet's payouts, newest first, filtered by status and driver."""
    where, values = "wallet_id = :wallet_id", dict[str, Any](wallet_id=wallet_id)
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status
    if driver_id is not None:
        where, values["driver_id"] = f"{where} AND driver_id = :driver_id", driver_id
    total = connection.scalar(sa.text(f"SELECT count(*) FROM payouts WHERE {where}"), values) or 0
    rows = connection.execute(
        sa.text(f"SELECT {COLUMNS} FROM {_FROM} AS found WHERE {where} ORDER BY id DESC LIMIT :size OFFSET :skipped"),
        values | {"size": size, "skipped": (number - 1) * size},
    )
    return Page([PayoutRow._make(row) for row in rows], total)
