"""Reading the ledger: a wallet's balances."""

import uuid
from typing import NamedTuple

import sqlalchemy as sa


class Balances(NamedTuple):
    """A wallet's accounts, in cents."""

    available_cents: int
    in_transit_cents: int
    pending_funding_cents: int
    fees_cents: int
    external_cents: int


def load_balances(connection: sa.Connection, wallet_id: uuid.UUID) -> Balances:
    """The wallet's five balances, at one moment."""
    rows = connection.execute(
        sa.text("SELECT kind, balance_cents FROM accounts WHERE wallet_id = :wallet_id"),
        {"wallet_id": wallet_id},
    )
    found: dict[str, int] = {row.kind: row.balance_cents for row in rows}
    return Balances(**{f"{kind}_cents": cents for kind, cents in found.items()})
