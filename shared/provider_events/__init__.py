"""The webhook inbox: verified notices of the provider, stored once, applied by a worker, shown in the log."""

from shared.provider_events.handling import Handled, apply, gather
from shared.provider_events.inbox import Receipt, Stored, store
from shared.provider_events.log import COUNTED_MOST, LogFilter, LogStatus, log, log_public
from shared.provider_events.notice import Malformed, Notice, read

__all__ = [
    "COUNTED_MOST",
    "Handled",
    "LogFilter",
    "LogStatus",
    "Malformed",
    "Notice",
    "Receipt",
    "Stored",
    "apply",
    "gather",
    "log",
    "log_public",
    "read",
    "store",
]
