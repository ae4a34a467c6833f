"""Counts: how many rows a wallet's lists have, kept by whoever writes the rows, under the wallet's lock."""

import uuid
from typing import Final

import sqlalchemy as sa

PAYOUTS: Final = "payouts"
ENDED: Final = ("completed", "failed", "canceled", "returned")
"""The payouts' statuses that are counted; those on their way are few and are counted when somebody asks."""
STATEMENT: Final = ("topup_settle", "reserve", "release", "return")
"""The kinds of transfers that are lines of the statement."""

NAMES: Final = (
    PAYOUTS,
    *(f"payouts:{status}" for status in ENDED),
    *(f"transfers:{kind}" for kind in STATEMENT),
)
"""Every count that a wallet has."""


def open_counts(connection: sa.Connection, wallet_id: uuid.UUID) -> None:
    """Opens the counts of a new wallet."""
    connection.execute(
        sa.text("INSERT INTO list_counts (wallet_id, name) SELECT :wallet_id, unnest(CAST(:names AS text[]))"),
        {"wallet_id": wallet_id, "names": list(NAMES)},
    )


def total(connection: sa.Connection, wallet_id: uuid.UUID, *names: str) -> int:
    """The sum of these counts."""
    found = connection.scalar(
        sa.text("SELECT sum(count) FROM list_counts WHERE wallet_id = :wallet_id AND name = ANY(:names)"),
        {"wallet_id": wallet_id, "names": list(names)},
    )
    return int(found or 0)
