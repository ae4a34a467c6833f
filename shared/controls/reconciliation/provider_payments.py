"""Payments in the provider's record; each carries our ids."""

import uuid
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from shared.platform.ids import PAYOUT, SUBMISSION, parse_id

UNPAID_STATUSES: Final = frozenset({"failed", "canceled"})
"""Final statuses of payments that moved no money."""
PENDING_STATUSES: Final = frozenset({"created", "validated", "queued", "processing", "sent"})


class _PaymentDocument(msgspec.Struct, rename="camel"):
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
    id: str
    recipient_id: str
    amount_cents: int
    currency: str | None
    status: str
    description: str
    """The customer's text."""
    created_at: datetime
    changed_at: datetime
    """When it last changed, if the provider says so."""
    payout_id: uuid.UUID | None
    submission_id: uuid.UUID | None

    @property
    def moves_money(self) -> bool:
        return self.status not in UNPAID_STATUSES

    def case_values(self) -> dict[str, Any]:
        values = {
            "payment": self.id,
            "recipient": self.recipient_id,
            "amount": self.amount_cents,
            "status": self.status,
        }
        return values | {"description": self.description[:200], "currency": self.currency or "usd"}


def parse_provider_payment(data: Any) -> ProviderPayment:
    """Parse a payment of the provider's list.

    Raises:
        msgspec.ValidationError: it does not have the documented shape.
    """
    document = msgspec.convert(data, _PaymentDocument)
    metadata, description = document.metadata or {}, document.description or ""
    payout_id = _id(PAYOUT, metadata.get("payoutId"))
    if payout_id is None:  # a batch's payments have no metadata
        first, _, rest = description.partition(" ")
        payout_id = _id(PAYOUT, first)
        description = rest if payout_id is not None else description
    created_at = document.created_at.astimezone(UTC)
    return ProviderPayment(
        id=document.id,
        recipient_id=document.recipient_id,
        amount_cents=document.amount,
        currency=document.currency,
        status=document.status,
        description=description,
        created_at=created_at,
        changed_at=document.updated_at.astimezone(UTC) if document.updated_at else created_at,
        payout_id=payout_id,
        submission_id=_id(SUBMISSION, metadata.get("submissionId")),
    )


def _id(prefix: str, text: Any) -> uuid.UUID | None:
    return parse_id(prefix, text) if isinstance(text, str) else None
