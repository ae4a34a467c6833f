"""The webhook log: what the provider told us of a wallet's payouts, when, and what it did.

Only what was verified is stored at all. Whoever sends what is not signed names no wallet that we could believe.
"""

import enum
import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.platform.clock import rfc3339
from shared.platform.ids import CLOCKS_APART, LOG, PAYOUT, first_id, show
from shared.platform.pagination import Page, Wanted, chosen

COUNTED_MOST: Final = 10_000
"""How far the lengths of logs are counted."""


class LogStatus(enum.StrEnum):
    """What the log says of a webhook."""

    PENDING = "pending"
    """A worker will look at it, or look at it again."""
    SUCCESS = "success"
    """It was understood; `outcome` says what it did, if anything."""
    ERROR = "error"
    """It contradicts our record, or names a payment that did not become known within a day."""


_CONDITIONS: Final = {
    # Each is what an index is made of, word by word.
    LogStatus.PENDING: "next_action_at IS NOT NULL",
    LogStatus.SUCCESS: "status IN ('applied', 'ignored')",
    LogStatus.ERROR: "status IN ('orphan', 'mismatch') AND next_action_at IS NULL",
}


class LogFilter(NamedTuple):
    """Which webhooks."""

    event: str | None = None
    """As the log shows it: our payout, or Paystream's payment."""
    status: LogStatus | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Received from `since` on, and before `until`."""

    def where(self, wallet_id: uuid.UUID) -> tuple[str, dict[str, Any]]:
        """Its condition and the condition's values. Ids are in the order of time, so times need no index of theirs."""
        parts, values = ["wallet_id = :wallet_id"], dict[str, Any](wallet_id=wallet_id)
        if self.event is not None:
            subject, _, state = self.event.partition(".")
            parts.append("type = ANY(:names)")
            values["names"] = [self.event, f"payment.{state}"] if subject == "payout" else [self.event]
        if self.status is not None:
            parts.append(_CONDITIONS[self.status])
        if self.since is not None:
            parts.append("received_at >= :since AND id >= :since_id")
            values |= {"since": self.since, "since_id": first_id(self.since, -CLOCKS_APART)}
        if self.until is not None:
            parts.append("received_at < :until AND id < :until_id")
            values |= {"until": self.until, "until_id": first_id(self.until, CLOCKS_APART)}
        return " AND ".join(parts), values


EVERYTHING: Final = LogFilter()


class LogRow(NamedTuple):
    """A webhook as its log shows it."""

    id: uuid.UUID
    type: str
    body: bytes
    status: str
    outcome: str | None
    payout_id: uuid.UUID | None
    received_at: datetime
    handled_at: datetime | None
    waits: bool
    """Whether a worker is to look at it."""

    @property
    def shown_status(self) -> LogStatus:
        """What the log says."""
        if self.status in ("applied", "ignored"):
            return LogStatus.SUCCESS
        return LogStatus.PENDING if self.waits else LogStatus.ERROR


def log(connection: sa.Connection, wallet_id: uuid.UUID, wanted: Wanted, asked: LogFilter = EVERYTHING) -> Page[LogRow]:
    """A part of the webhooks about the wallet's payouts, newest first. The total is counted to `COUNTED_MOST`."""
    where, values = asked.where(wallet_id)
    ids, more = chosen(connection, "provider_events", where, values, wanted)
    rows = connection.execute(
        sa.text("""
            SELECT id, type, body, status, outcome, payout_id, received_at, handled_at, next_action_at IS NOT NULL
            FROM provider_events WHERE id = ANY(:ids) ORDER BY id DESC
        """),
        {"ids": ids},
    )
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM (SELECT FROM provider_events WHERE {where} LIMIT :most) AS counted"),
        values | {"most": COUNTED_MOST},
    )
    return Page([LogRow._make(row) for row in rows], total or 0, more)


def log_public(row: LogRow) -> dict[str, Any]:
    """The webhook in the API's shape (reference: Webhook Logs). Paystream's payment is our payout."""
    subject, dot, state = row.type.partition(".")
    try:
        payload = msgspec.json.decode(row.body)
    except (ValueError, RecursionError):
        payload = {}
    return {
        "id": show(LOG, row.id),
        "event": f"payout.{state}" if dot and subject == "payment" else row.type,
        "payload": payload,
        "receivedAt": rfc3339(row.received_at),
        "processedAt": row.handled_at and rfc3339(row.handled_at),
        "status": row.shown_status,
        "verified": True,
        "outcome": row.outcome,
        "payoutId": row.payout_id and show(PAYOUT, row.payout_id),
    }
