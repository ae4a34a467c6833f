"""The webhook log: a wallet's provider events, when they arrived, and what they did."""

import enum
import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.platform.clock import format_rfc3339
from shared.platform.ids import ID_CLOCK_SKEW_MAX, LOG, PAYOUT, first_id_at, public_id
from shared.platform.pagination import Page, PageRequest, select_page_ids

LOG_COUNTED_MAX: Final = 10_000
"""The total is counted up to this."""


class WebhookLogStatus(enum.StrEnum):
    """The status that the log shows."""

    PENDING = "pending"
    """It waits for a worker, or for a retry."""
    SUCCESS = "success"
    """It was applied or needs no action; see `outcome`."""
    ERROR = "error"
    """It contradicts our record, or its payment stayed unknown for a day."""


_CONDITIONS: Final = {
    # Each is the exact condition of a partial index.
    WebhookLogStatus.PENDING: "next_action_at IS NOT NULL",
    WebhookLogStatus.SUCCESS: "status IN ('applied', 'ignored')",
    WebhookLogStatus.ERROR: "status IN ('orphan', 'mismatch') AND next_action_at IS NULL",
}


class WebhookLogFilter(NamedTuple):
    """Selects webhooks of the log."""

    event: str | None = None
    """The event's name: as the log shows it (`payout.…`), or as Paystream sent it (`payment.…`)."""
    status: WebhookLogStatus | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Received from `since` on, and before `until`."""

    def where(self, wallet_id: uuid.UUID) -> tuple[str, dict[str, Any]]:
        """Return the SQL condition and its values. Ids are ordered by time, so times need no index."""
        parts, values = ["wallet_id = :wallet_id"], dict[str, Any](wallet_id=wallet_id)
        if self.event is not None:
            subject, _, state = self.event.partition(".")
            parts.append("type = ANY(:names)")
            values["names"] = [self.event, f"payment.{state}"] if subject == "payout" else [self.event]
        if self.status is not None:
            parts.append(_CONDITIONS[self.status])
        if self.since is not None:
            parts.append("received_at >= :since AND id >= :since_id")
            values |= {"since": self.since, "since_id": first_id_at(self.since, -ID_CLOCK_SKEW_MAX)}
        if self.until is not None:
            parts.append("received_at < :until AND id < :until_id")
            values |= {"until": self.until, "until_id": first_id_at(self.until, ID_CLOCK_SKEW_MAX)}
        return " AND ".join(parts), values


ALL_WEBHOOKS: Final = WebhookLogFilter()


class WebhookLogRow(NamedTuple):
    """A webhook of the log."""

    id: uuid.UUID
    type: str
    body: bytes
    status: str
    outcome: str | None
    payout_id: uuid.UUID | None
    received_at: datetime
    handled_at: datetime | None
    waits: bool
    """Whether it waits for a worker."""

    @property
    def log_status(self) -> WebhookLogStatus:
        """The status to show."""
        if self.status in ("applied", "ignored"):
            return WebhookLogStatus.SUCCESS
        return WebhookLogStatus.PENDING if self.waits else WebhookLogStatus.ERROR


def load_webhook_log(
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: PageRequest, log_filter: WebhookLogFilter = ALL_WEBHOOKS
) -> Page[WebhookLogRow]:
    """Return a page of webhooks of the wallet's payouts, newest first; the total is at most `LOG_COUNTED_MAX`."""
    where, values = log_filter.where(wallet_id)
    ids, more = select_page_ids(connection, "provider_events", where, values, wanted)
    rows = connection.execute(
        sa.text("""
            SELECT id, type, body, status, outcome, payout_id, received_at, handled_at, next_action_at IS NOT NULL
            FROM provider_events WHERE id = ANY(:ids) ORDER BY id DESC
        """),
        {"ids": ids},
    )
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM (SELECT FROM provider_events WHERE {where} LIMIT :most) AS counted"),
        values | {"most": LOG_COUNTED_MAX},
    )
    return Page([WebhookLogRow._make(row) for row in rows], total or 0, more)


def webhook_log_payload(row: WebhookLogRow) -> dict[str, Any]:
    """Return the webhook in the API's format (reference: Webhook Logs); Paystream's `payment` is our `payout`."""
    subject, dot, state = row.type.partition(".")
    try:
        payload = msgspec.json.decode(row.body)
    except (ValueError, RecursionError):
        payload = {}
    return {
        "id": public_id(LOG, row.id),
        "event": f"payout.{state}" if dot and subject == "payment" else row.type,
        "payload": payload,
        "receivedAt": format_rfc3339(row.received_at),
        "processedAt": row.handled_at and format_rfc3339(row.handled_at),
        "status": row.log_status,
        "verified": True,
        "outcome": row.outcome,
        "payoutId": row.payout_id and public_id(PAYOUT, row.payout_id),
    }
