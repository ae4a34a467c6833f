"""Routes of the API and their handlers."""

import re
from typing import Any

from deploy.simulator.balance import Balances
from deploy.simulator.batches import Batches
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import BalanceEntry, Batch, Document, Payment
from deploy.simulator.errors import invalid
from deploy.simulator.payments import Payments
from deploy.simulator.recipients import Recipients
from deploy.simulator.request_bodies import (
    EmptyBody,
    MethodChange,
    NewBatch,
    NewMethod,
    NewPayment,
    NewRecipient,
    NewTopup,
)
from deploy.simulator.request_handler import ApiCall, ResultPage, Route
from deploy.simulator.time_and_ids import parse_time

PAYMENT_STATUSES = (
    "created",
    "validated",
    "queued",
    "processing",
    "sent",
    "completed",
    "failed",
    "returned",
    "canceled",
)
BATCH_STATUSES = ("draft", "held", "processing", "completed", "failed")
ENTRY_TYPES = ("credit", "debit", "lock", "unlock", "settlement")
_CURSOR = re.compile(r"^[a-z]{3,5}_[0-9a-f]{19}$")


class PaystreamApi:
    """Paystream's published API."""

    def __init__(
        self,
        store: DocumentStore,
        balances: Balances,
        recipients: Recipients,
        payments: Payments,
        batches: Batches,
    ) -> None:
        self._store = store
        self._balances = balances
        self._recipients = recipients
        self._payments = payments
        self._batches = batches

    def routes(self) -> list[Route]:
        methods = "/recipients/{id}/payment-methods"
        return [
            Route("POST", "/payments", self.create_payment, NewPayment, 201, "payments"),
            Route("GET", "/payments", self.list_payments),
            Route("GET", "/payments/{id}", self.get_payment),
            Route("POST", "/payments/{id}/cancel", self.cancel_payment, EmptyBody),
            Route("POST", "/payments/{id}/retry", self.retry_payment, EmptyBody),
            Route("POST", "/batches", self.create_batch, NewBatch, 201, "batches"),
            Route("GET", "/batches", self.list_batches),
            Route("GET", "/batches/{id}", self.get_batch),
            Route("POST", "/batches/{id}/release", self.release_batch, EmptyBody, 200, "batches"),
            Route("DELETE", "/batches/{id}", self.delete_batch),
            Route("POST", "/recipients", self.create_recipient, NewRecipient, 201, "recipients"),
            Route("POST", methods, self.add_method, NewMethod, 201, "recipients"),
            Route("GET", methods, self.list_methods),
            Route("PATCH", methods + "/{method}", self.change_method, MethodChange),
            Route("DELETE", methods + "/{method}", self.delete_method),
            Route("GET", "/balance/summary", self.balance),
            Route("POST", "/balance/topup", self.topup, NewTopup, 201, "topup"),
            Route("GET", "/balance/transactions", self.list_entries),
        ]

    def create_payment(self, call: ApiCall) -> Any:
        return self._payments.create(call.mode, call.body, call.key).view()

    def get_payment(self, call: ApiCall) -> Any:
        return self._payments.get(call.mode, call.path["id"]).view()

    def list_payments(self, call: ApiCall) -> ResultPage:
        where = ["mode = ?"]
        values: list[str] = [call.mode]
        if status := _choice(call, "status", PAYMENT_STATUSES):
            where.append("status = ?")
            values.append(status)
        if recipient_id := call.query.get("recipientId"):
            where.append("recipient_id = ?")
            values.append(recipient_id)
        for name, comparison in (("startDate", ">="), ("endDate", "<=")):
            if text := call.query.get(name):
                where.append(f"json_extract(doc, '$.createdAt') {comparison} ?")
                values.append(_parse_bound(name, text))
        return self._page(Payment, call, where, values)

    def cancel_payment(self, call: ApiCall) -> Any:
        return self._payments.cancel(call.mode, call.path["id"]).view()

    def retry_payment(self, call: ApiCall) -> Any:
        return self._payments.retry(call.mode, call.path["id"]).view()

    def create_batch(self, call: ApiCall) -> Any:
        batch, payments = self._batches.create(call.mode, call.body, call.key)
        return _batch_view(batch, payments)

    def get_batch(self, call: ApiCall) -> Any:
        batch = self._batches.get(call.mode, call.path["id"])
        return _batch_view(batch, self._batches.payments_of(batch.id))

    def list_batches(self, call: ApiCall) -> ResultPage:
        where = ["mode = ?", "NOT json_extract(doc, '$.deleted')"]
        values: list[str] = [call.mode]
        if status := _choice(call, "status", BATCH_STATUSES):
            where.append("status = ?")
            values.append(status)
        return self._page(Batch, call, where, values)

    def release_batch(self, call: ApiCall) -> Any:
        payments = self._batches.payments_of(call.path["id"])
        return _batch_view(self._batches.release(call.mode, call.path["id"], payments), payments)

    def delete_batch(self, call: ApiCall) -> Any:
        batch_id = call.path["id"]
        self._batches.delete(call.mode, batch_id, self._batches.payments_of(batch_id))
        return {"id": batch_id, "deleted": True}

    def create_recipient(self, call: ApiCall) -> Any:
        return self._recipients.create(call.mode, call.body, call.key).view()

    def add_method(self, call: ApiCall) -> Any:
        return self._recipients.add_method(call.mode, call.path["id"], call.body).view()

    def list_methods(self, call: ApiCall) -> ResultPage:
        methods = self._recipients.get(call.mode, call.path["id"]).methods
        return ResultPage([method.view() for method in methods], None)

    def change_method(self, call: ApiCall) -> Any:
        path = call.path
        return self._recipients.set_default(call.mode, path["id"], path["method"], call.body.is_default).view()

    def delete_method(self, call: ApiCall) -> Any:
        self._recipients.delete_method(call.mode, call.path["id"], call.path["method"])
        return {"id": call.path["method"], "deleted": True}

    def balance(self, call: ApiCall) -> Any:
        return self._balances.summary(call.mode)

    def topup(self, call: ApiCall) -> Any:
        return self._balances.topup(call.mode, call.body, call.key).view()

    def list_entries(self, call: ApiCall) -> ResultPage:
        where = ["mode = ?"]
        values: list[str] = [call.mode]
        if kind := _choice(call, "type", ENTRY_TYPES):
            where.append("type = ?")
            values.append(kind)
        return self._page(BalanceEntry, call, where, values)

    def _page(self, kind: type[Document], call: ApiCall, where: list[str], values: list[str]) -> ResultPage:
        """Return a page, newest first; the cursor is the last id of the previous page."""
        limit = parse_limit(call.query.get("limit"), most=100)
        if cursor := call.query.get("cursor"):
            if not _CURSOR.match(cursor):
                raise invalid("Unknown cursor.", error_id="INVALID_CURSOR", field="cursor")
            where.append("id < ?")
            values.append(cursor)
        tail = f"ORDER BY id DESC LIMIT {limit + 1}"
        found: list[Any] = self._store.select(kind, " AND ".join(where), values, tail)
        page = found[:limit]
        return ResultPage([item.view() for item in page], page[-1].id if len(found) > limit else None)


def parse_limit(text: str | None, *, most: int, default: int = 50) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise invalid(f"limit must be a whole number from 1 to {most}.", error_id="INVALID_LIMIT", field="limit")
    return int(text)


def _choice(call: ApiCall, name: str, known: tuple[str, ...]) -> str | None:
    value = call.query.get(name)
    if value is not None and value not in known:
        message = f"{name} must be one of {', '.join(known)}."
        raise invalid(message, error_id=f"INVALID_{name.upper()}", field=name)
    return value


def _parse_bound(name: str, text: str) -> str:
    try:
        return parse_time(text, end_of_day=name == "endDate")
    except ValueError as error:
        raise invalid(f"{name} must be an RFC 3339 date or time.", error_id="INVALID_DATE", field=name) from error


def _batch_view(batch: Batch, payments: list[Payment]) -> dict[str, Any]:
    return batch.view() | {"payments": [payment.view() for payment in payments]}
