"""How the timeline says things: a sentence for each, none of them with more than its reader may know."""

import re
from typing import Any, Final

from shared.payouts.timeline.records import RecordRow
from shared.schema.ledger import TransferKind

_TRANSFERS: Final = {
    TransferKind.RESERVE: "{} reserved: it left the available balance and is in transit",
    TransferKind.SETTLE: "{} left for the driver",
    TransferKind.FEE: "{} taken as our fee",
    TransferKind.RELEASE: "{} available again",
    TransferKind.RETURN: "{} came back from the driver's bank and is available again",
}

_SAYS: Final = {"webhook": "Paystream's webhook says so", "poll": "Paystream said so when it was asked"}

_WEBHOOKS: Final = {
    "received": "it waits to be applied",
    "applied": "it was applied",
    "ignored": "it left nothing to change",
    "orphan": "it names a payment that we do not know yet, and is tried again",
    "mismatch": "it contradicts our record, so no money was touched",
}

_STATUS: Final = re.compile(r"(\d{3}) ([A-Z0-9_]{1,64}): ")
_OURS: Final = ("no answer within ", "not sent: ", "rate limited", "not found after ", "Paystream's answer is not ")
"""How sentences about an unclear answer begin that are our own; others quote the network, and may name its hosts."""


def format_dollars(cents: int) -> str:
    """Cents as dollars, as in `$1,234.50`."""
    return f"${cents // 100:,}.{cents % 100:02d}"


def transition_title(row: RecordRow, amount_cents: int, driver_name: str, failure: Any) -> str:
    """A step of the payout."""
    why = failure.get("message") or failure.get("code") if isinstance(failure, dict) else None
    reason = row["reason"]
    match row["from_status"], row["to_status"]:
        case None, _:
            return f"Accepted: {format_dollars(amount_cents)} to {driver_name}"
        case "validated", "queued":
            queued = {"instant": "Queued at once, as it is instant", "checked": "Queued: the driver can still be paid"}
            return queued.get(reason, f"Queued: {reason}")
        case "failed", "queued":
            return f"Queued again, attempt {row['attempt']}: {reason}"
        case _, "processing":
            return "Processing: it is on its way to Paystream"
        case _, "completed":
            return f"Completed: {_SAYS.get(reason, reason)}"
        case _, "failed":
            return f"Failed: {why or _SAYS.get(reason, reason)}"
        case _, "canceled":
            return f"Canceled: {why or reason}"
        case _, "returned":
            return f"Returned by the driver's bank: {why or _SAYS.get(reason, reason)}"
    return f"{row['to_status'].capitalize()}: {reason}"


def transfer_title(row: RecordRow) -> str:
    """Money that moved."""
    return _TRANSFERS[TransferKind(row["kind"])].format(format_dollars(row["amount_cents"]))


def webhook_title(row: RecordRow) -> str:
    """A webhook of Paystream's, and what became of it."""
    return f"Paystream's webhook {row['type']}: {_WEBHOOKS[row['status']]}"


def unclear_answer_reason(message: str | None) -> str:
    """Why an answer decided nothing, without what the network said of hosts, or the provider of our credentials."""
    text = message or ""
    if found := _STATUS.match(text):
        return f"Paystream answered {found[1]} {found[2]}"
    return text.partition(": [")[0] if text.startswith(_OURS) else "the connection to Paystream failed"
