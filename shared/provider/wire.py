"""The provider's wire format: the requests that we send and the resources that it returns."""

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
    """The wallet's mode; selects the API key."""
    method: str
    path: str
    """Relative to `/api/v1`."""
    body: Any = None
    idempotency_key: str | None = None
    params: dict[str, str] | None = None
    urgent: bool = False
    """Whether it may use the calls and connections reserved for instant payouts."""
    send_deadline: float | None = None
    """Monotonic time after which it must not be sent, because its lease may be over."""
    recheck_after: float = 0.0
    """Monotonic time after which `may_send` is called before it is sent."""
    may_send: Callable[[], bool] | None = None
    """Returns False if an outgoing hold covers it by now. None: it moves no money."""


class PaymentResource(msgspec.Struct, rename="camel"):
    """A payment; fields that we don't use are left out."""

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
    """A recipient's payment method; `status` says whether the provider has verified it."""

    id: str
    status: str
    is_default: bool = False


class TopupResource(msgspec.Struct, rename="camel"):
    """A top-up that the provider has accepted."""

    id: str
    amount: int


class BalanceTransaction(msgspec.Struct, rename="camel"):
    """An entry of the provider's balance statement; `reference` is the top-up's id if it is a credit."""

    id: str
    type: str
    amount: int
    created_at: datetime
    reference: str | None = None


class UnexpectedResponse(Exception):
    """A 2xx response that differs from the documented shape; what the provider did is unknown."""


def decode_resource(data: Any, shape: type[Shape]) -> Shape:
    """Convert the data of a response to a resource.

    Raises:
        UnexpectedResponse: the data has another shape.

    """
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise UnexpectedResponse(f"Paystream's answer is not what it documents: {error}") from error


def send_submission_call(
    submission_id: uuid.UUID, mode: str, kind: SubmissionKind, request: dict[str, Any]
) -> ProviderCall:
    """Call that sends a submission; its id is the idempotency key."""
    path = "/payments" if kind is SubmissionKind.PAYMENT else "/batches"
    return ProviderCall(mode, "POST", path, request, idempotency_key=public_id(SUBMISSION, submission_id))


def get_payment_call(mode: str, provider_payment_id: str) -> ProviderCall:
    """Call that gets one payment."""
    return ProviderCall(mode, "GET", f"/payments/{provider_payment_id}")


def create_recipient_call(mode: str, driver_id: uuid.UUID, name: str, email: str) -> ProviderCall:
    """Call that creates a recipient. Our driver id is key and external id: two carriers may use one `ovnDriverId`."""
    body = {"name": name, "email": email, "externalId": public_id(DRIVER, driver_id)}
    return ProviderCall(mode, "POST", "/recipients", body, idempotency_key=f"recipient-{driver_id.hex}")


def list_payment_methods_call(mode: str, recipient_id: str) -> ProviderCall:
    """Call that lists a recipient's payment methods, with their verification status."""
    return ProviderCall(mode, "GET", f"/recipients/{recipient_id}/payment-methods")


def add_payment_method_call(mode: str, recipient_id: str, details: dict[str, Any], key: str) -> ProviderCall:
    """Call that adds a bank account as the recipient's default payment method."""
    body = {**details, "isDefault": True}
    return ProviderCall(mode, "POST", f"/recipients/{recipient_id}/payment-methods", body, idempotency_key=key)


def request_topup_call(mode: str, topup_id: uuid.UUID, amount_cents: int, method: str) -> ProviderCall:
    """Call that requests a top-up; its id is the idempotency key."""
    body = {"amount": amount_cents, "fundingSourceId": method}
    return ProviderCall(mode, "POST", "/balance/topup", body, idempotency_key=f"topup-{topup_id.hex}")


def list_credits_call(mode: str) -> ProviderCall:
    """Call that lists the newest credits to our balance, to find a settled top-up."""
    return ProviderCall(mode, "GET", "/balance/transactions", params={"type": "credit"})
