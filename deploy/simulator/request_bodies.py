"""Request bodies, and the error for each invalid field."""

import re
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from deploy.simulator.errors import PaystreamError, invalid

BATCH_PAYMENTS_MAX = 1_000
BATCH_CENTS_MAX = 100_000_000

Amount = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Digits = Annotated[str, Meta(pattern=r"^[0-9]{4,17}$")]
Routing = Annotated[str, Meta(pattern=r"^[0-9]{9}$")]


class RequestBody(msgspec.Struct, rename="camel", kw_only=True):
    """A request's JSON; unknown fields are ignored."""

    error_prefix: ClassVar[str] = "REQUEST"

    def subjects(self) -> list["NewPayment"]:
        """Return the payments it requests, for their faults."""
        return []


class NewPayment(RequestBody, kw_only=True):
    error_prefix = "PAYMENT"

    recipient_id: Text
    amount: Amount
    currency: Literal["usd"] = "usd"
    rail: Literal["standard", "same_day_ach", "rtp", "instant"] | None = None
    urgency: bool = False
    description: Annotated[str, Meta(max_length=2_000)] | None = None
    metadata: dict[str, Any] | None = None

    def subjects(self) -> list["NewPayment"]:
        return [self]


class BatchPayment(RequestBody, kw_only=True):
    error_prefix = "PAYMENT"

    recipient_id: Text
    amount: Amount
    description: Annotated[str, Meta(max_length=2_000)] | None = None


class NewBatch(RequestBody, kw_only=True):
    error_prefix = "BATCH"

    name: Text
    hold: bool = False
    payments: Annotated[list[BatchPayment], Meta(min_length=1, max_length=BATCH_PAYMENTS_MAX)]

    def subjects(self) -> list[NewPayment]:
        return [
            NewPayment(recipient_id=payment.recipient_id, amount=payment.amount, description=payment.description)
            for payment in self.payments
        ]


class Identity(RequestBody, kw_only=True):
    """The recipient's identity; validated and discarded."""

    first_name: Text
    last_name: Text
    date_of_birth: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    ssn_last4: Annotated[str, Meta(pattern=r"^[0-9]{4}$")] | None = None
    address: dict[str, Any]
    tos_acceptance: Any = None


class BankAccount(RequestBody, kw_only=True):
    account_number: Digits
    routing_number: Routing
    account_holder_name: Text
    account_holder_type: Literal["individual", "business", "company"] = "individual"
    account_type: Literal["checking", "savings"] = "checking"


class NewRecipient(RequestBody, kw_only=True):
    error_prefix = "RECIPIENT"

    name: Text
    email: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]
    external_id: Text | None = None
    identity: Identity | None = None
    bank_account: BankAccount | None = None


class NewMethod(RequestBody, kw_only=True):
    error_prefix = "PAYMENT_METHOD"

    bank_account: BankAccount | None = None
    plaid_token: Text | None = None
    is_default: bool = False


class MethodChange(RequestBody, kw_only=True):
    error_prefix = "PAYMENT_METHOD"

    is_default: bool


class NewTopup(RequestBody, kw_only=True):
    error_prefix = "TOPUP"

    amount: Amount
    funding_source_id: Text


class EmptyBody(RequestBody, kw_only=True):
    """The body of a POST without fields."""


B = TypeVar("B", bound=RequestBody)

_FIELD_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")


def decode(content: bytes, kind: type[B]) -> B:
    """Decode a body, or raise a 400 that names the field."""
    if kind is EmptyBody and not content.strip():
        content = b"{}"
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not JSON: {error}", error_id="INVALID_JSON") from error


def _field_error(message: str, kind: type[RequestBody]) -> PaystreamError:
    path = _FIELD_PATH.search(message)
    field = path.group(1) if path else ""
    missing = _MISSING.search(message)
    if missing:
        field = f"{field}.{missing.group(1)}" if field else missing.group(1)
    prefix = "PAYMENT" if kind is NewBatch and field.startswith("payments[") else kind.error_prefix
    last = re.sub(r"\[[^\]]*\]$", "", field).rpartition(".")[2]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).upper() or "BODY"
    return invalid(message, error_id=f"{prefix}_INVALID_{name}", field=field or None)


def fingerprint_source(content: bytes, body: RequestBody | None) -> bytes:
    """Return what identifies a body: its content, independent of spaces and key order, or else its bytes."""
    return content if body is None else msgspec.json.encode(body, order="deterministic")
