"""Requests of the payout intake, their responses, and their entries in the audit log and the log."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import structlog

from gateway.http.envelope import domain_error_body, success_body
from gateway.intake.group_commit import Deferred
from shared.identity import audit
from shared.identity.audit import Actor
from shared.payouts.orders import PayoutOrder
from shared.payouts.rows import PayoutRow
from shared.platform import idempotency, logs
from shared.platform.errors import DomainError
from shared.platform.idempotency import IdempotencyKeyReused, StoredAnswer
from shared.platform.ids import PAYOUT, public_id
from shared.schema.audit import Action

logger = structlog.get_logger(__name__)

PayoutOutcome = PayoutRow | DomainError


class PayoutRequest(NamedTuple):
    wallet_id: uuid.UUID
    orders: Sequence[PayoutOrder]
    key: str | None
    """The client's Idempotency-Key."""
    fingerprint: bytes
    request_id: str
    shape: Callable[[Sequence[PayoutOutcome]], dict[str, Any]]
    """Formats the orders' outcomes; can raise a DomainError as the response to the whole request."""
    actor: Actor
    traceparent: str | None = None
    """The request's trace, if it has one."""


def single_payout_payload(
    format_row: Callable[[PayoutRow], dict[str, Any]],
) -> Callable[[Sequence[PayoutOutcome]], dict[str, Any]]:
    """Format the outcome of a request for one payout, or raise its error."""

    def shape(outcomes: Sequence[PayoutOutcome]) -> dict[str, Any]:
        [outcome] = outcomes
        if isinstance(outcome, DomainError):
            raise outcome
        return format_row(outcome)

    return shape


class IntakeResponse(NamedTuple):
    """A response, as it is sent and stored."""

    status: int
    body: bytes
    replayed: bool = False


ResponseOrDeferred = IntakeResponse | Literal[Deferred.DEFERRED]


def find_new_requests(requests: Sequence[PayoutRequest], stored: dict[Any, StoredAnswer]) -> list[int]:
    """The indexes of requests that are not repeats; in a group, the first request with a key is the new one."""
    seen = set(stored)
    new = []
    for index, request in enumerate(requests):
        name = (request.wallet_id, request.key)
        if request.key is None or name not in seen:
            new.append(index)
            seen.add(name)
    return new


def replay(request: PayoutRequest, stored: dict[Any, StoredAnswer], now: datetime) -> IntakeResponse:
    """The stored response of a repeat, or an error if the key belongs to a different request."""
    assert request.key is not None
    first = stored[request.wallet_id, request.key]
    if first.fingerprint != request.fingerprint:
        error = IdempotencyKeyReused(request.key)
        return IntakeResponse(error.status, domain_error_body(error, request.request_id, now))
    return IntakeResponse(first.http_status, first.answer, replayed=True)


def respond(request: PayoutRequest, outcomes: Sequence[PayoutOutcome], now: datetime) -> IntakeResponse:
    try:
        return IntakeResponse(200, success_body(request.shape(outcomes), request.request_id, now))
    except DomainError as error:
        return IntakeResponse(error.status, domain_error_body(error, request.request_id, now))


def log_accepted(requests: Sequence[PayoutRequest], accepted: Sequence[PayoutRow]) -> None:
    """Log one line for a group, with each request's payouts."""
    if not accepted:
        return
    accepted_ids = {row.id for row in accepted}
    ids = [
        (request.request_id, order.id) for request in requests for order in request.orders if order.id in accepted_ids
    ]
    payouts_by_request: dict[str, list[str]] = {}
    for request_id, payout_id in ids[: logs.LOGGED_IDS_MAX]:
        payouts_by_request.setdefault(request_id, []).append(public_id(PAYOUT, payout_id))
    if len(payouts_by_request) == 1:
        [(request_id, payouts)] = payouts_by_request.items()
        logger.info("payouts.accepted", request_id=request_id, payouts=payouts, count=len(accepted))
    else:
        logger.info("payouts.accepted", requests=payouts_by_request, count=len(accepted))


def audit_entries(done: Iterable[tuple[PayoutRequest, Sequence[PayoutOutcome]]]) -> Iterator[audit.Entry]:
    for request, outcomes in done:
        actor = request.actor
        rows = [outcome for outcome in outcomes if isinstance(outcome, PayoutRow)]
        after: dict[str, Any] = {
            "amount": sum(row.amount_cents for row in rows),
            **idempotency.audit_key_hash(request.key),
        }
        if len(outcomes) == 1 and rows:
            yield audit.Entry(actor, Action.PAYOUT_CREATE, public_id(PAYOUT, rows[0].id), after=after)
        elif rows:
            after |= {"count": len(rows), "ids": [public_id(PAYOUT, row.id) for row in rows]}
            yield audit.Entry(actor, Action.PAYOUT_CREATE, None, after=after)
