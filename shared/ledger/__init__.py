"""The ledger: double entry over a wallet's five accounts. Nothing else writes a balance or a transfer."""

from shared.ledger.balances import Balances, balances
from shared.ledger.posting import Entry, lock, locking, looking, open_accounts, post, posting, tell_low

__all__ = [
    "Balances",
    "Entry",
    "balances",
    "lock",
    "locking",
    "looking",
    "open_accounts",
    "post",
    "posting",
    "tell_low",
]
