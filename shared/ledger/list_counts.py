"""Stored lengths of a wallet's lists, updated under the wallet lock."""

import uuid
from typing import Final

import sqlalchemy as sa

PAYOUTS_COUNT: Final = "payouts"
COUNTED_STATUSES: Final = ("completed", "failed", "canceled", "returned")
"""Payout statuses with a stored count; payouts in the other statuses are few and counted on request."""
COUNTED_TRANSFER_KINDS: Final = ("topup_settle", "reserve", "release", "return")
"""The transfer kinds of the statement."""

COUNT_NAMES: Final = (
    PAYOUTS_COUNT,
    *(f"payouts:{status}" for status in COUNTED_STATUSES),
    *(f"transfers:{kind}" for kind in COUNTED_TRANSFER_KINDS),
)

# Inserts counts of zero. Locks nothing else.
_INSERT_COUNTS: Final = sa.text(
    "INSERT INTO list_counts (wallet_id, name) SELECT :wallet_id, unnest(CAST(:names AS text[]))"
)

# Returns the sum of counts. Locks nothing.
_SUM_COUNTS: Final = sa.text("SELECT sum(count) FROM list_counts WHERE wallet_id = :wallet_id AND name = ANY(:names)")


def create_counts(connection: sa.Connection, wallet_id: uuid.UUID) -> None:
    """Create the counts of a new wallet."""
    connection.execute(_INSERT_COUNTS, {"wallet_id": wallet_id, "names": list(COUNT_NAMES)})


def sum_counts(connection: sa.Connection, wallet_id: uuid.UUID, *names: str) -> int:
    """The sum of the named counts."""
    return int(connection.scalar(_SUM_COUNTS, {"wallet_id": wallet_id, "names": list(names)}) or 0)
