"""The provider's shapes, and our requests in them: what is sent where, and what an answer has to look like."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from shared.platform.ids import DRIVER, SUBMISSION, public_id
from shared.schema.payouts import SubmissionKind

Shape = TypeVar("Shape")


class ProviderCall(NamedTuple):
    """A request to the provider."""

    mode: str
    """The wallet's mode: decides the key."""
    method: str
    path: str
    """Below `/api/v1`."""
    body: Any = None
    idempotency_key: str | None = None
    params: dict[str, str] | None = None
    urgent: bool = False
    """Whether it goes in the lane kept free for instant payouts."""
    send_deadline: float | None = None
    """The monotonic time from which on it must not be sent any more: its lease is over."""
    recheck_after: float = 0.0
    """The monotonic time from which on `clear` is asked before it is sent."""
    clear: Callable[[], bool] | None = None
    """Whether it may be sent: whether its money is not held by now. None: it moves no money."""


class PaymentResource(msgspec.Struct, rename="camel"):
    """A payment as the provider shows it; fields that we do not use are left out."""

    id: str
    recipient_id: str
    amount: int
    status: str
    currency: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


class BatchResource(msgspec.Struct, rename="camel"):
    """A batch with its payments."""

    id: str
    payments: list[PaymentResource]
    name: str | None = None


class RecipientResource(msgspec.Struct, rename="camel"):
    """A recipient."""

    id: str


class PaymentMethodResource(msgspec.Struct, rename="camel"):
    """A way to pay a recipient; `status` says whether the provider has verified it."""

    id: str
    status: str
    is_default: bool = False


class TopupResource(msgspec.Struct, rename="camel"):
    """A top-up that the provider has taken on."""

    id: str
    amount: int


class BalanceTransaction(msgspec.Struct, rename="camel"):
    """A line of the provider's balance; `reference` names the top-up of a credit."""

    id: str
    type: str
    amount: int
    created_at: datetime
    reference: str | None = None


class UnexpectedResponse(Exception):
    """A 2xx answer that does not have the shape the provider documents; nobody knows what was done."""


def decode_resource(data: Any, shape: type[Shape]) -> Shape:
    """The answer's data in the shape that is expected.

    Raises:
        UnexpectedAnswer: it has another.

    """
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise UnexpectedResponse(f"Paystream's answer is not what it documents: {error}") from error


def send_submission_call(
    submission_id: uuid.UUID, mode: str, kind: SubmissionKind, request: dict[str, Any]
) -> ProviderCall:
    """Sends a submission, under its id as the key."""
    path = "/payments" if kind is SubmissionKind.PAYMENT else "/batches"
    return ProviderCall(mode, "POST", path, request, idempotency_key=public_id(SUBMISSION, submission_id))


def get_payment_call(mode: str, provider_payment_id: str) -> ProviderCall:
    """Asks for one payment."""
    return ProviderCall(mode, "GET", f"/payments/{provider_payment_id}")


def create_recipient_call(mode: str, driver_id: uuid.UUID, name: str, email: str) -> ProviderCall:
    """Makes a driver known as a recipient, under the driver's id as the key. Our own id is the external one: two
    carriers may use the same id for two drivers.
    """
    body = {"name": name, "email": email, "externalId": public_id(DRIVER, driver_id)}
    return ProviderCall(mode, "POST", "/recipients", body, idempotency_key=f"recipient-{driver_id.hex}")


def list_payment_methods_call(mode: str, recipient_id: str) -> ProviderCall:
    """Asks how far a recipient's verification has come."""
    return ProviderCall(mode, "GET", f"/recipients/{recipient_id}/payment-methods")


def add_payment_method_call(mode: str, recipient_id: str, details: dict[str, Any], key: str) -> ProviderCall:
    """Gives a recipient the bank account by which it is paid from now on."""
    body = {**details, "isDefault": True}
    return ProviderCall(mode, "POST", f"/recipients/{recipient_id}/payment-methods", body, idempotency_key=key)


def request_topup_call(mode: str, topup_id: uuid.UUID, amount_cents: int, method: str) -> ProviderCall:
    """Asks for a top-up, under its id as the key."""
    body = {"amount": amount_cents, "fundingSourceId": method}
    return ProviderCall(mode, "POST", "/balance/topup", body, idempotency_key=f"topup-{topup_id.hex}")


def list_credits_call(mode: str) -> ProviderCall:
    """Asks for the latest credits to our balance: how a top-up's settlement is seen."""
    return ProviderCall(mode, "GET", "/balance/transactions", params={"type": "credit"})
