"""Ranking: who was paid the most, and how fast, in a range."""

import enum
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.reporting.analytics.definitions import Ended, figures
from shared.reporting.analytics.facts import ENDED, added_up
from shared.reporting.analytics.ranges import Place, Span
from shared.reporting.analytics.sources import BY_DRIVER, found

FEW: Final = 1_000
"""Up to so many drivers are looked up one by one."""


class DriverFigures(NamedTuple):
    """What a driver was paid."""

    driver_id: uuid.UUID
    ovn_driver_id: str
    name: str
    ended: Ended


class Sort(enum.StrEnum):
    """By what drivers are ranked, the most first."""

    VOLUME = "volume"
    FEES = "fees"
    PAID = "paidCount"
    FAILED = "failedCount"
    RETURNED = "returnedCount"


_BY: Final = {
    Sort.VOLUME: "net_cents + fee_cents",
    Sort.FEES: "fee_cents",
    Sort.PAID: "paid_count",
    Sort.FAILED: "failed_count",
    Sort.RETURNED: "returned_count",
}


def drivers(
    connection: sa.Connection, where: Place, span: Span, *, sort: Sort, limit: int, skipped: int = 0
) -> tuple[list[DriverFigures], int]:
    """A part of the ranking of drivers for whom anything ended in the range, and how many they are.

    All are ranked by one figure, in the fewest sums; the others are read for those alone that are shown.
    """
    rows, values = found(BY_DRIVER._replace(waits=False), where, span, fewest=True)
    ranked = connection.execute(
        sa.text(f"""
            {rows}
            SELECT driver_id, sum({_BY[sort]}) AS rank, count(*) OVER () AS total FROM found GROUP BY driver_id
            HAVING sum(paid_count + failed_count + returned_count) > 0
            ORDER BY rank DESC, driver_id LIMIT :limit OFFSET :skipped
        """),
        values | {"limit": limit, "skipped": skipped},
    ).all()
    if not ranked:
        return [], drivers(connection, where, span, sort=sort, limit=1)[1] if skipped else 0
    shown = _shown(connection, where, span, [row.driver_id for row in ranked])
    return [shown[row.driver_id] for row in ranked], ranked[0].total


def _shown(
    connection: sa.Connection, where: Place, span: Span, driver_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, DriverFigures]:
    """The figures of these drivers."""
    few = len(driver_ids) <= FEW
    rows, values = found(BY_DRIVER, where, span, "driver_id = ANY(:driver_ids)" if few else "true")
    made = connection.execute(
        sa.text(f"""
            {rows}, made AS ({added_up("found", ["driver_id"], ENDED)})
            SELECT made.*, ovn_driver_id, name FROM made JOIN drivers ON drivers.id = driver_id
        """),
        values | ({"driver_ids": driver_ids} if few else {}),
    )
    return {
        row.driver_id: DriverFigures(row.driver_id, row.ovn_driver_id, row.name, figures(Ended, row)) for row in made
    }
