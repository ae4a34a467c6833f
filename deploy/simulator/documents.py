"""The simulator's stored objects, each a JSON document with the API's public names.

Readable with any SQLite shell.
"""

from typing import Any, ClassVar, Literal

import msgspec

Mode = Literal["test", "live"]
Rail = Literal["standard", "same_day_ach", "rtp"]
MODES: tuple[Mode, ...] = ("test", "live")

# Before `processing` nothing was sent to the bank, so a payment can be canceled.
CANCELABLE = ("created", "validated", "queued")
UNSETTLED = (*CANCELABLE, "processing", "sent")


class Document(msgspec.Struct, rename="camel", kw_only=True):
    """A stored document; `columns` are the fields that queries filter on."""

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()

    id: str
    mode: Mode
    due_at: float | None = None
    """Unix seconds of its next change by timer; such documents are loaded at start."""


class StatusChange(msgspec.Struct):
    status: str
    at: str


class Payment(Document, kw_only=True):
    """A payment: created → validated → queued → processing → sent → completed, or failed, returned, canceled."""

    table = "payments"
    columns = ("status", "recipient_id", "batch_id")

    recipient_id: str
    amount_cents: int = msgspec.field(name="amount")
    currency: str = "usd"
    rail: Rail
    status: str = "created"
    description: str | None = None
    metadata: dict[str, Any] | None = None
    batch_id: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    idempotency_key: str | None = None
    created_at: str
    updated_at: str
    history: list[StatusChange]
    faults: list[str] = []
    started_at: float = 0.0
    """Unix seconds from which the rail's delay counts: creation, batch release, or retry."""
    retries: int = 0
    retried_at: float | None = None

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "recipientId": self.recipient_id,
            "amount": self.amount_cents,
            "currency": self.currency,
            "rail": self.rail,
            "status": self.status,
            "description": self.description,
            "metadata": self.metadata,
            "batchId": self.batch_id,
            "failureCode": self.failure_code,
            "failureReason": self.failure_reason,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


class Batch(Document, kw_only=True):
    """Payments sent together; it ends when none is open."""

    table = "batches"
    columns = ("status",)

    name: str
    status: str
    payment_count: int
    total_cents: int = msgspec.field(name="totalAmount")
    open_count: int
    failed_count: int = 0
    deleted: bool = False
    created_at: str

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "paymentCount": self.payment_count,
            "totalAmount": self.total_cents,
            "createdAt": self.created_at,
        }


class PaymentMethod(msgspec.Struct, rename="camel", kw_only=True):
    """A recipient's payment method; of the account number only the last four digits are stored."""

    id: str
    type: Literal["bank_account", "plaid"]
    status: Literal["pending", "verified", "rejected"]
    last4: str | None
    is_default: bool
    created_at: str
    verified_at: str | None = None
    due_at: float | None = None

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status,
            "last4": self.last4,
            "isDefault": self.is_default,
            "createdAt": self.created_at,
        }


class Recipient(Document, kw_only=True):
    table = "recipients"

    name: str
    email: str
    external_id: str | None
    methods: list[PaymentMethod]
    idempotency_key: str | None
    created_at: str

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "externalId": self.external_id,
            "createdAt": self.created_at,
        }

    def default_method(self) -> PaymentMethod | None:
        return next((method for method in self.methods if method.is_default), None)


class Topup(Document, kw_only=True):
    table = "topups"

    amount_cents: int = msgspec.field(name="amount")
    status: Literal["pending", "completed"] = "pending"
    funding_source_id: str
    idempotency_key: str | None
    created_at: str

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "amount": self.amount_cents,
            "status": self.status,
            "fundingSourceId": self.funding_source_id,
            "createdAt": self.created_at,
        }


class Balance(Document, kw_only=True):
    """The money of a mode; available + locked changes only by credits, debits and settlements."""

    table = "balances"

    available_cents: int
    pending_cents: int = 0
    locked_cents: int = 0


class BalanceEntry(Document, kw_only=True):
    """An entry of the balance statement; `balanceAfter` is the available balance after it."""

    table = "entries"
    columns = ("type",)

    type: Literal["credit", "debit", "lock", "unlock", "settlement"]
    amount_cents: int = msgspec.field(name="amount")
    balance_after_cents: int = msgspec.field(name="balanceAfter")
    reference: str
    created_at: str

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "amount": self.amount_cents,
            "balanceAfter": self.balance_after_cents,
            "reference": self.reference,
            "createdAt": self.created_at,
        }


class WebhookEvent(Document, kw_only=True):
    """A webhook that is not delivered yet; deleted when it is."""

    table = "events"

    subject: str
    """Payment or batch id; the events of a subject are sent in order."""
    body: str
    created_at: float
    forged: bool = False
    copies: int = 1
