"""Load one driver, or a page of a wallet's drivers."""

import uuid
from typing import Any

import sqlalchemy as sa

from shared.drivers.rows import DRIVER_COLUMNS, DriverRow
from shared.platform.pagination import Page, PageRequest, select_page_ids


def load_driver(
    connection: sa.Connection, wallet_id: uuid.UUID, driver_id: uuid.UUID, *, lock: bool = False
) -> DriverRow | None:
    """Return a driver of the wallet, or None; with `lock`, its row is locked for a change."""
    row = connection.execute(
        sa.text(
            f"SELECT {DRIVER_COLUMNS} FROM drivers WHERE id = :id AND wallet_id = :wallet_id AND deleted_at IS NULL"
            + (" FOR NO KEY UPDATE" if lock else "")
        ),
        {"wallet_id": wallet_id, "id": driver_id},
    ).one_or_none()
    return None if row is None else DriverRow._make(row)


def load_driver_page(
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: PageRequest, *, status: str | None = None
) -> Page[DriverRow]:
    """Return a page of the wallet's drivers, newest first."""
    where, values = "wallet_id = :wallet_id AND deleted_at IS NULL", dict[str, Any](wallet_id=wallet_id)
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status
    ids, more = select_page_ids(connection, "drivers", where, values, wanted)
    rows = connection.execute(
        sa.text(f"SELECT {DRIVER_COLUMNS} FROM drivers WHERE id = ANY(:ids) ORDER BY id DESC"), {"ids": ids}
    )
    total = connection.scalar(sa.text(f"SELECT count(*) FROM drivers WHERE {where}"), values) or 0
    return Page([DriverRow._make(row) for row in rows], total, more)
