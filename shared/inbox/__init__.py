"""The inbox of provider events: verified webhooks, stored once, applied by a worker, shown in the webhook log.

Promises: one row per event id; an event id with two bodies puts its payout on hold; an event about an unknown payment
is retried for a day. Owns the table `provider_events`. Applying locks the events, their payouts, then the wallets.
"""

from shared.inbox.apply import EVENTS_PER_TRANSACTION_MAX, AppliedEvent, apply_events, events_of_locked_wallets
from shared.inbox.notification import MalformedNotification, ProviderNotification, parse_notification
from shared.inbox.store import StoredNotifications, StoreResult, store_notifications
from shared.inbox.webhook_log import (
    LOG_COUNTED_MAX,
    WebhookLogFilter,
    WebhookLogStatus,
    load_webhook_log,
    webhook_log_payload,
)

__all__ = [
    "EVENTS_PER_TRANSACTION_MAX",
    "LOG_COUNTED_MAX",
    "AppliedEvent",
    "MalformedNotification",
    "ProviderNotification",
    "StoreResult",
    "StoredNotifications",
    "WebhookLogFilter",
    "WebhookLogStatus",
    "apply_events",
    "events_of_locked_wallets",
    "load_webhook_log",
    "parse_notification",
    "store_notifications",
    "webhook_log_payload",
]
