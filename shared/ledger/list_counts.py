"""Counts: how many rows a wallet's lists have, kept by whoever writes the rows, under the wallet's lock."""

import uuid
from typing import Final

import sqlalchemy as sa

PAYOUTS_COUNT: Final = "payouts"
COUNTED_STATUSES: Final = ("completed", "failed", "canceled", "returned")
"""The payouts' statuses that are counted; those on their way are few and are counted when somebody asks."""
COUNTED_TRANSFER_KINDS: Final = ("topup_settle", "reserve", "release", "return")
"""The kinds of transfers that are lines of the statement."""

COUNT_NAMES: Final = (
    PAYOUTS_COUNT,
    *(f"payouts:{status}" for status in COUNTED_STATUSES),
    *(f"transfers:{kind}" for kind in COUNTED_TRANSFER_KINDS),
)
"""Every count that a wallet has."""


def create_counts(connection: sa.Connection, wallet_id: uuid.UUID) -> None:
    """Opens the counts of a new wallet."""
    connection.execute(
        sa.text("INSERT INTO list_counts (wallet_id, name) SELECT :wallet_id, unnest(CAST(:names AS text[]))"),
        {"wallet_id": wallet_id, "names": list(COUNT_NAMES)},
    )


def sum_counts(connection: sa.Connection, wallet_id: uuid.UUID, *names: str) -> int:
    """The sum of these counts."""
    found = connection.scalar(
        sa.text("SELECT sum(count) FROM list_counts WHERE wallet_id = :wallet_id AND name = ANY(:names)"),
        {"wallet_id": wallet_id, "names": list(names)},
    )
    return int(found or 0)
