"""The ledger: double entry over a wallet's five accounts. Nothing else writes a balance or a transfer."""

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
