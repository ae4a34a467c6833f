"""Reading the ledger: a wallet's balances, and the proof that they are right."""

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


def balances(connection: sa.Connection, wallet_id: uuid.UUID) -> Balances:
    """The wallet's five balances, at one moment."""
    rows = connection.execute(
        sa.text("SELECT kind, balance_cents FROM accounts WHERE wallet_id = :wallet_id"),
        {"wallet_id": wallet_id},
    )
    found: dict[str, int] = {row.kind: row.balance_cents for row in rows}
    return Balances(**{f"{kind}_cents": cents for kind, cents in found.items()})


class Break(NamedTuple):
    """A wallet whose ledger does not add up."""

    wallet_id: uuid.UUID
    explanation: str


_UNBALANCED = sa.text("""
    SELECT wallet_id, sum(balance_cents) AS cents FROM accounts GROUP BY wallet_id HAVING sum(balance_cents) <> 0
""")

_DIFFERING = sa.text("""
    WITH moved AS (
        SELECT wallet_id, account, sum(cents) AS cents FROM (
            SELECT wallet_id, from_account AS account, -amount_cents AS cents FROM transfers
            UNION ALL
            SELECT wallet_id, to_account, amount_cents FROM transfers
        ) AS legs GROUP BY wallet_id, account
    )
    SELECT accounts.wallet_id, accounts.kind, accounts.balance_cents, coalesce(moved.cents, 0) AS cents
    FROM accounts LEFT JOIN moved ON moved.wallet_id = accounts.wallet_id AND moved.account = accounts.kind
    WHERE accounts.balance_cents <> coalesce(moved.cents, 0)
""")

_IN_TRANSIT = sa.text("""
    WITH held AS (SELECT wallet_id, sum(amount_cents) AS cents FROM payouts WHERE reserved GROUP BY wallet_id)
    SELECT accounts.wallet_id, accounts.balance_cents, coalesce(held.cents, 0) AS cents
    FROM accounts LEFT JOIN held USING (wallet_id)
    WHERE accounts.kind = 'in_transit' AND accounts.balance_cents <> coalesce(held.cents, 0)
""")


def breaks(connection: sa.Connection) -> list[Break]:
    """Every wallet that breaks a law of the ledger: accounts sum to zero, each equals its transfers, and what is
    in transit is what open payouts have reserved. Reads everything; one statement at a time, so call it in a
    transaction that sees one moment (REPEATABLE READ)."""
    found = [
        Break(row.wallet_id, f"the accounts sum to {row.cents} cents, not to zero")
        for row in connection.execute(_UNBALANCED)
    ]
    found += [
        Break(row.wallet_id, f"{row.kind} holds {row.balance_cents} cents, its transfers say {row.cents}")
        for row in connection.execute(_DIFFERING)
    ]
    found += [
        Break(row.wallet_id, f"{row.balance_cents} cents are in transit, open payouts have reserved {row.cents}")
        for row in connection.execute(_IN_TRANSIT)
    ]
    return found
