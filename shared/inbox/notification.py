"""Notices: what a verified webhook says, in either published shape.

The provider's own has `type` and `data.paymentId`; the one of our reference has `event` and `data.payoutId`.
"""

import hashlib
import uuid
from typing import Annotated, Final

import msgspec

from shared.payouts.payment_updates import PROGRESS_PAYMENT_STATES
from shared.platform.ids import DRIVER, PAYOUT, new_id, parse_id

PAYMENT_SUBJECTS: Final = frozenset({"payment", "payout"})
"""What a notice that concerns us is about; a batch's payments each send their own."""

UNMATCHED_DRIVER_ID: Final = uuid.UUID(int=0)
"""Stands for a driver's id that can't be one of ours: no driver has it."""

IndexedText = Annotated[str, msgspec.Meta(max_length=200)]
"""A text that is looked up: an index takes no longer ones."""


class _Data(msgspec.Struct, rename="camel"):
    payment_id: IndexedText | None = None
    payout_id: IndexedText | None = None
    amount: Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)] | None = None
    currency: str | None = None
    recipient_id: str | None = None
    driver_id: str | None = None
    status: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


class _Body(msgspec.Struct):
    id: IndexedText | None = None
    type: IndexedText | None = None
    event: IndexedText | None = None
    data: _Data = msgspec.field(default_factory=_Data)


class MalformedNotification(Exception):
    """The body is not a notice in either published shape."""


class ProviderNotification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified webhook, read; see `shared.schema.tables.events.ProviderEvent`. It is stored as it is encoded."""

    id: uuid.UUID
    event_key: str
    body_sha256: bytes
    type: str
    payment_id: str | None
    payout_id: uuid.UUID | None
    amount_cents: int | None
    currency: str | None
    recipient_id: str | None
    driver_id: uuid.UUID | None
    failure_code: str | None
    failure_reason: str | None
    body: bytes
    concerns_us: bool
    """Whether it is about a payment at all; what is not is stored, and that is all."""
    on_the_way: bool
    """Whether its state decides nothing; what it says of the payment has to be right all the same."""
    contradicts: uuid.UUID | None = None


def parse_notification(body: bytes) -> ProviderNotification:
    """Reads a verified body.

    Raises:
        Malformed: it is not JSON, or names no event.

    """
    try:
        content = msgspec.json.decode(body, type=_Body)
        msgspec.json.decode(body)  # what is in fields that we don't know has to be JSON, too
    except (ValueError, RecursionError) as error:  # DecodeError, UnicodeDecodeError
        raise MalformedNotification(f"The body is not a Paystream event: {error}") from error
    kind, data = content.type or content.event, content.data
    if not kind or "\0" in body.decode(errors="replace") or b"\\u0000" in body:
        raise MalformedNotification("The body is not a Paystream event: it has neither type nor event")
    subject, _, state = kind.partition(".")
    names_one = bool(data.payment_id or data.payout_id)
    if subject in PAYMENT_SUBJECTS and state not in PROGRESS_PAYMENT_STATES and not names_one:
        raise MalformedNotification("The body is not a Paystream event: its data names neither paymentId nor payoutId")
    digest = hashlib.sha256(body).digest()
    return ProviderNotification(
        id=new_id(),
        event_key=content.id or f"sha256:{digest.hex()}",
        body_sha256=digest,
        type=kind,
        payment_id=data.payment_id,
        payout_id=parse_id(PAYOUT, data.payout_id) if data.payout_id else None,
        amount_cents=data.amount,
        currency=data.currency,
        recipient_id=data.recipient_id,
        driver_id=(parse_id(DRIVER, data.driver_id) or UNMATCHED_DRIVER_ID) if data.driver_id else None,
        failure_code=data.failure_code,
        failure_reason=data.failure_reason,
        body=body,
        concerns_us=subject in PAYMENT_SUBJECTS and names_one,
        on_the_way=state in PROGRESS_PAYMENT_STATES,
    )
