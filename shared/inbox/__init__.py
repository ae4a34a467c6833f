"""The webhook inbox: verified notices of the provider, stored once, applied by a worker, shown in the log."""

from shared.inbox.apply import TOGETHER_MOST, Handled, apply, of_held_wallets
from shared.inbox.notification import Malformed, Notice, read
from shared.inbox.store import Receipt, Stored, store
from shared.inbox.webhook_log import COUNTED_MOST, LogFilter, LogStatus, log, log_public

__all__ = [
    "COUNTED_MOST",
    "TOGETHER_MOST",
    "Handled",
    "LogFilter",
    "LogStatus",
    "Malformed",
    "Notice",
    "Receipt",
    "Stored",
    "apply",
    "log",
    "log_public",
    "of_held_wallets",
    "read",
    "store",
]
