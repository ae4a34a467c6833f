"""The sentences of the timeline. They show customers no hosts, credentials or operators' notes."""

import re
from typing import Any, Final

from shared.payouts.timeline.records import RecordRow
from shared.schema.ledger import TransferKind

_TRANSFERS: Final = {
    TransferKind.RESERVE: "{} reserved from the available balance",
    TransferKind.SETTLE: "{} paid to the driver",
    TransferKind.FEE: "{} charged as the fee",
    TransferKind.RELEASE: "{} released to the available balance",
    TransferKind.RETURN: "{} returned by the driver's bank to the available balance",
}

_SOURCES: Final = {"webhook": "reported by Paystream's webhook", "poll": "reported by Paystream when polled"}

_WEBHOOKS: Final = {
    "received": "waiting to be applied",
    "applied": "applied",
    "ignored": "no change",
    "orphan": "no payment known by its id yet; matched again later",
    "mismatch": "contradicts our record; no money moved",
}

_PROVIDER_ERROR: Final = re.compile(r"(\d{3}) ([A-Z0-9_]{1,64}): ")
_OWN_MESSAGES: Final = (
    "no answer within ",
    "not sent: ",
    "rate limited",
    "not found after ",
    "Paystream's answer is not ",
)
"""Prefixes of our own messages about an inconclusive response; the others quote the network and may name hosts."""


def format_dollars(cents: int) -> str:
    """Format cents, as in `$1,234.50`."""
    return f"${cents // 100:,}.{cents % 100:02d}"


def transition_title(row: RecordRow, amount_cents: int, driver_name: str, failure: Any) -> str:
    """The title of a transition."""
    why = failure.get("message") or failure.get("code") if isinstance(failure, dict) else None
    reason = row["reason"]
    match row["from_status"], row["to_status"]:
        case None, _:
            return f"Accepted: {format_dollars(amount_cents)} to {driver_name}"
        case "validated", "queued":
            queued = {"instant": "Queued immediately: instant payout", "checked": "Queued: the driver can be paid"}
            return queued.get(reason, f"Queued: {reason}")
        case "failed", "queued":
            return f"Queued for attempt {row['attempt']}: {reason}"
        case _, "processing":
            return "Processing: to be sent to Paystream"
        case _, "completed":
            return f"Completed: {_SOURCES.get(reason, reason)}"
        case _, "failed":
            return f"Failed: {why or _SOURCES.get(reason, reason)}"
        case _, "canceled":
            return f"Canceled: {why or reason}"
        case _, "returned":
            return f"Returned by the driver's bank: {why or _SOURCES.get(reason, reason)}"
    return f"{row['to_status'].capitalize()}: {reason}"


def transfer_title(row: RecordRow) -> str:
    """The title of a ledger transfer."""
    return _TRANSFERS[TransferKind(row["kind"])].format(format_dollars(row["amount_cents"]))


def webhook_title(row: RecordRow) -> str:
    """The title of a provider event."""
    return f"Paystream webhook {row['type']}: {_WEBHOOKS[row['status']]}"


def unclear_answer_reason(message: str | None) -> str:
    """Why a response was inconclusive, without hosts or the provider's message about credentials."""
    text = message or ""
    if found := _PROVIDER_ERROR.match(text):
        return f"Paystream answered {found[1]} {found[2]}"
    return text.partition(": [")[0] if text.startswith(_OWN_MESSAGES) else "the connection to Paystream failed"
