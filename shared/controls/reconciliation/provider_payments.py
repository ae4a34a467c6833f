"""Marks: by what a payment of the provider's says whose it is. Every payment that we ask for carries our ids."""

import uuid
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from shared.platform.ids import PAYOUT, SUBMISSION, parse_id

UNPAID_STATUSES: Final = frozenset({"failed", "canceled"})
"""States of a payment in which nobody has got anything, nor will."""
PENDING_STATUSES: Final = frozenset({"created", "validated", "queued", "processing", "sent"})


class _Shown(msgspec.Struct, rename="camel"):
    id: str
    recipient_id: str
    amount: int
    status: str
    created_at: datetime
    currency: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    updated_at: datetime | None = None


class ProviderPayment(NamedTuple):
    """A payment by the provider's record, and our ids that it carries."""

    id: str
    recipient_id: str
    amount_cents: int
    currency: str | None
    status: str
    description: str
    """The customer's words."""
    created_at: datetime
    changed_at: datetime
    """When it last changed, where the provider says so."""
    payout_id: uuid.UUID | None
    submission_id: uuid.UUID | None

    @property
    def moves_money(self) -> bool:
        """Whether somebody has got the money, or may get it."""
        return self.status not in UNPAID_STATUSES

    def shown(self) -> dict[str, Any]:
        """As a case keeps it."""
        kept = {"payment": self.id, "recipient": self.recipient_id, "amount": self.amount_cents, "status": self.status}
        return kept | {"description": self.description[:200], "currency": self.currency or "usd"}


def parse_provider_payment(data: Any) -> ProviderPayment:
    """A payment as a list of the provider's shows it.

    Raises:
        msgspec.ValidationError: it has not the shape that the provider documents.

    """
    shown = msgspec.convert(data, _Shown)
    metadata, description = shown.metadata or {}, shown.description or ""
    payout_id = _id(PAYOUT, metadata.get("payoutId"))
    if payout_id is None:  # a batch's payments have no metadata
        first, _, rest = description.partition(" ")
        payout_id = _id(PAYOUT, first)
        description = rest if payout_id is not None else description
    created_at = shown.created_at.astimezone(UTC)
    return ProviderPayment(
        id=shown.id,
        recipient_id=shown.recipient_id,
        amount_cents=shown.amount,
        currency=shown.currency,
        status=shown.status,
        description=description,
        created_at=created_at,
        changed_at=shown.updated_at.astimezone(UTC) if shown.updated_at else created_at,
        payout_id=payout_id,
        submission_id=_id(SUBMISSION, metadata.get("submissionId")),
    )


def _id(prefix: str, text: Any) -> uuid.UUID | None:
    return parse_id(prefix, text) if isinstance(text, str) else None
