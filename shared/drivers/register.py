"""Register drivers: stored as `invited`; a worker then creates their recipients at the provider."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.drivers.rows import DriverRow
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict
from shared.platform.ids import DRIVER, new_id, public_id


class NewDriver(NamedTuple):
    """A driver to register."""

    ovn_driver_id: str
    name: str
    email: str
    phone: str | None


# Inserts the drivers whose `ovnDriverId` is free, in a common order to avoid deadlocks; returns their ids.
_INSERT_DRIVERS: Final = sa.text("""
    INSERT INTO drivers (id, ovn_driver_id, name, email, phone, wallet_id, status, kyc_status,
                         created_at, updated_at, next_action_at)
    SELECT made.*, :wallet_id, 'invited', 'pending', :now, :now, :due
    FROM json_to_recordset(CAST(:made AS json))
        AS made (id uuid, ovn_driver_id text, name text, email text, phone text)
    ORDER BY ovn_driver_id
    ON CONFLICT (wallet_id, ovn_driver_id) WHERE deleted_at IS NULL DO NOTHING RETURNING id
""")

# Ids of a wallet's drivers by their `ovnDriverId`; locks nothing.
_EXISTING_IDS: Final = sa.text("""
    SELECT ovn_driver_id, id FROM drivers
    WHERE wallet_id = :wallet_id AND ovn_driver_id = ANY(:ids) AND deleted_at IS NULL
""")


def register_drivers(
    connection: sa.Connection, wallet_id: uuid.UUID, drivers: Sequence[NewDriver], now: datetime, *, grace: timedelta
) -> list[DriverRow | Conflict]:
    """Register drivers; return a result for each, in order. `grace` is the time for their wake-up before the tick
    enqueues one.
    """
    new = [(new_id(), driver) for driver in drivers]
    values = {
        "wallet_id": wallet_id,
        "now": now,
        "due": now + grace,
        "made": encode_rows({"id": driver_id, **driver._asdict()} for driver_id, driver in new),
    }
    inserted = set(connection.scalars(_INSERT_DRIVERS, values))
    duplicates = [driver.ovn_driver_id for driver_id, driver in new if driver_id not in inserted]
    existing = _existing_ids(connection, wallet_id, duplicates)
    return [
        DriverRow(driver_id, *driver, "invited", "pending", None, None, now, 0, 0)
        if driver_id in inserted
        else Conflict(
            f"A driver with ovnDriverId {driver.ovn_driver_id} exists already",
            code="DRIVER_EXISTS",
            field="ovnDriverId",
            driverId=existing.get(driver.ovn_driver_id),
        )
        for driver_id, driver in new
    ]


def _existing_ids(connection: sa.Connection, wallet_id: uuid.UUID, ovn_driver_ids: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(_EXISTING_IDS, {"wallet_id": wallet_id, "ids": list(ovn_driver_ids)})
    return {row.ovn_driver_id: public_id(DRIVER, row.id) for row in rows}
