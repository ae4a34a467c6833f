"""Registering drivers: written down as `invited`; a worker then makes them known to the provider."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

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


def register_drivers(
    connection: sa.Connection, wallet_id: uuid.UUID, drivers: Sequence[NewDriver], now: datetime, *, grace: timedelta
) -> list[DriverRow | Conflict]:
    """Registers the drivers whose `ovnDriverId` the wallet does not have yet; an answer for each, in order.

    `grace` is how long the doorbell has before the tick rings for them too.
    """
    news = [(new_id(), driver) for driver in drivers]
    added = set(
        connection.scalars(
            sa.text("""
                INSERT INTO drivers (id, ovn_driver_id, name, email, phone, wallet_id, status, kyc_status,
                                     created_at, updated_at, next_action_at)
                SELECT made.*, :wallet_id, 'invited', 'pending', :now, :now, :due
                FROM json_to_recordset(CAST(:made AS json))
                    AS made (id uuid, ovn_driver_id text, name text, email text, phone text)
                ORDER BY ovn_driver_id
                ON CONFLICT (wallet_id, ovn_driver_id) WHERE deleted_at IS NULL DO NOTHING RETURNING id
            """),
            {
                "wallet_id": wallet_id,
                "now": now,
                "due": now + grace,
                "made": encode_rows({"id": driver_id, **driver._asdict()} for driver_id, driver in news),
            },
        )
    )
    taken = [driver.ovn_driver_id for driver_id, driver in news if driver_id not in added]
    existing = _existing(connection, wallet_id, taken)
    return [
        DriverRow(driver_id, *driver, "invited", "pending", None, None, now, 0, 0)
        if driver_id in added
        else Conflict(
            f"A driver with ovnDriverId {driver.ovn_driver_id} exists already",
            code="DRIVER_EXISTS",
            field="ovnDriverId",
            driverId=existing.get(driver.ovn_driver_id),
        )
        for driver_id, driver in news
    ]


def _existing(connection: sa.Connection, wallet_id: uuid.UUID, ovn_driver_ids: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(
        sa.text(
            "SELECT ovn_driver_id, id FROM drivers "
            "WHERE wallet_id = :wallet_id AND ovn_driver_id = ANY(:ids) AND deleted_at IS NULL"
        ),
        {"wallet_id": wallet_id, "ids": list(ovn_driver_ids)},
    )
    return {row.ovn_driver_id: public_id(DRIVER, row.id) for row in rows}
