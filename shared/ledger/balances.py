"""Balances of a wallet."""

import uuid
from typing import Final, NamedTuple

import sqlalchemy as sa


class Balances(NamedTuple):
    """The balances of a wallet's five accounts, in cents."""

    available_cents: int
    in_transit_cents: int
    pending_funding_cents: int
    fees_cents: int
    external_cents: int


# Returns the balances of one wallet. Locks nothing.
_BALANCES: Final = sa.text("SELECT kind, balance_cents FROM accounts WHERE wallet_id = :wallet_id")


def load_balances(connection: sa.Connection, wallet_id: uuid.UUID) -> Balances:
    """The wallet's balances in one snapshot."""
    rows = connection.execute(_BALANCES, {"wallet_id": wallet_id})
    found: dict[str, int] = {row.kind: row.balance_cents for row in rows}
    return Balances(**{f"{kind}_cents": cents for kind, cents in found.items()})
