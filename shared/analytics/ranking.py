"""Ranking: who was paid the most, and how fast, in a range."""

import enum
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.analytics.facts import ENDED, added_up
from shared.analytics.ranges import Place, Span
from shared.analytics.sources import BY_DRIVER, found
from shared.analytics.words import Ended, figures


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
    """A part of the ranking of drivers for whom anything ended in the range, and how many they are."""
    rows, values = found(BY_DRIVER._replace(waits=False), where, span)
    ranked = connection.execute(
        sa.text(f"""
            {rows}, summed AS ({added_up("found", ["driver_id"], ENDED, waits=False)}),
            ranked AS (
                SELECT summed.*, count(*) OVER () AS of, {_BY[sort]} AS rank FROM summed
                ORDER BY rank DESC, driver_id LIMIT :limit OFFSET :skipped
            )
            SELECT ranked.*, CAST('{{}}' AS bigint[]) AS waits, ovn_driver_id, name
            FROM ranked JOIN drivers ON drivers.id = driver_id ORDER BY rank DESC, driver_id
        """),
        values | {"limit": limit, "skipped": skipped},
    ).all()
    waits = _waits(connection, where, span, [row.driver_id for row in ranked])
    made = [
        DriverFigures(
            row.driver_id, row.ovn_driver_id, row.name, figures(Ended, row, tuple(waits.get(row.driver_id, ())))
        )
        for row in ranked
    ]
    if ranked or not skipped:
        return made, ranked[0].of if ranked else 0
    return [], drivers(connection, where, span, sort=sort, limit=1)[1]


def _waits(
    connection: sa.Connection, where: Place, span: Span, driver_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[int]]:
    """How long the payouts of these drivers took."""
    rows, values = found(BY_DRIVER, where, span, "driver_id = ANY(:driver_ids)")
    made = connection.execute(
        sa.text(f"""
            {rows} SELECT driver_id, array_agg(part) FROM found CROSS JOIN LATERAL unnest(waits) AS part
            GROUP BY driver_id
        """),
        values | {"driver_ids": driver_ids},
    )
    return {row[0]: row[1] for row in made}
