"""Double-entry ledger of wallets: transfers, balances, the statement, prices.

Promises: no balance turns negative, an attempt is posted once for each kind of transfer, and transfers never change.
Owns `accounts`, `transfers`, `prices` and `list_counts`. Locks the `available` accounts, by wallet id, after the rows
of other packages.
"""

from shared.ledger.balances import Balances, load_balances
from shared.ledger.posting import (
    NewTransfer,
    available_balances_query,
    lock_wallets,
    lock_wallets_query,
    open_accounts,
    post_transfers,
    post_transfers_query,
    write_low_balance_events,
)

__all__ = [
    "Balances",
    "NewTransfer",
    "available_balances_query",
    "load_balances",
    "lock_wallets",
    "lock_wallets_query",
    "open_accounts",
    "post_transfers",
    "post_transfers_query",
    "write_low_balance_events",
]
