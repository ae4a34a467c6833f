"""The ledger: double entry over a wallet's five accounts. Nothing else writes a balance or a transfer."""

from shared.ledger.posting import Entry, lock, locking, looking, open_accounts, post, posting, tell_low
from shared.ledger.reading import Balances, balances

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
