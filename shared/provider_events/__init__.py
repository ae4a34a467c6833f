"""The webhook inbox: verified notices of the provider, stored once, applied by a worker, shown in the log."""

from shared.provider_events.handling import TOGETHER_MOST, Handled, apply, of_held_wallets
from shared.provider_events.inbox import Receipt, Stored, store
from shared.provider_events.log import COUNTED_MOST, LogFilter, LogStatus, log, log_public
from shared.provider_events.notice import Malformed, Notice, read

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
