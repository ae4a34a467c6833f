"""Parse verified webhooks, in both published formats.

The provider's own has `type` and `data.paymentId`; that of our API reference has `event` and `data.payoutId`.
"""

import hashlib
import uuid
from typing import Annotated, Any, Final

import msgspec

from shared.payouts.payment_updates import PROGRESS_PAYMENT_STATES
from shared.platform.ids import DRIVER, PAYOUT, new_id, parse_id

PAYMENT_SUBJECTS: Final = frozenset({"payment", "payout"})
"""Subjects of events that we apply; each payment of a batch sends its own."""

UNMATCHED_DRIVER_ID: Final = uuid.UUID(int=0)
"""Stored for a driver id that is not in our format; no driver has it."""

IndexedText = Annotated[str, msgspec.Meta(max_length=200)]
"""Text of an indexed column; an index entry has a maximum length."""


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
    """The body has neither published format."""


class ProviderNotification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified webhook; see `shared.schema.tables.events.ProviderEvent`. Its fields are the columns of the insert."""

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
    is_about_payment: bool
    """Other events are stored and never applied."""
    is_progress: bool
    """Whether its state changes nothing, such as `processing`; its facts are still compared with our record."""
    contradicts: uuid.UUID | None = None


def parse_notification(body: bytes, content: Any = msgspec.UNSET) -> ProviderNotification:
    """Parse a verified body; `content` is the decoded body, if the caller has decoded it.

    Raises:
        MalformedNotification: it is not JSON, or names no event.

    """
    try:
        if content is msgspec.UNSET:
            content = msgspec.json.decode(body)
        parsed = msgspec.convert(content, _Body)
    except (ValueError, RecursionError) as error:  # DecodeError, UnicodeDecodeError
        raise MalformedNotification(f"The body is not a Paystream event: {error}") from error
    event_type, data = parsed.type or parsed.event, parsed.data
    if not event_type or b"\\u0000" in body:
        raise MalformedNotification("The body is not a Paystream event: it has neither type nor event")
    subject, _, state = event_type.partition(".")
    names_payment = bool(data.payment_id or data.payout_id)
    is_progress = state in PROGRESS_PAYMENT_STATES
    if subject in PAYMENT_SUBJECTS and not is_progress and not names_payment:
        raise MalformedNotification("The body is not a Paystream event: its data names neither paymentId nor payoutId")
    digest = hashlib.sha256(body).digest()
    return ProviderNotification(
        id=new_id(),
        event_key=parsed.id or f"sha256:{digest.hex()}",
        body_sha256=digest,
        type=event_type,
        payment_id=data.payment_id,
        payout_id=parse_id(PAYOUT, data.payout_id) if data.payout_id else None,
        amount_cents=data.amount,
        currency=data.currency,
        recipient_id=data.recipient_id,
        driver_id=(parse_id(DRIVER, data.driver_id) or UNMATCHED_DRIVER_ID) if data.driver_id else None,
        failure_code=data.failure_code,
        failure_reason=data.failure_reason,
        body=body,
        is_about_payment=subject in PAYMENT_SUBJECTS and names_payment,
        is_progress=is_progress,
    )
