"""Handlers of payouts: create, instant payout and its fee, list, get, cancel, retry."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import REQUEST_ID, SCENARIO, SERVICES
from gateway.handlers.common_shapes import ListPage
from gateway.handlers.payout_shapes import (
    CanceledPayout,
    CreateInstantPayout,
    CreatePayout,
    InstantFee,
    InstantFeeQuery,
    InstantPayout,
    ListPayouts,
    Payout,
    PayoutFields,
    RetriedPayout,
    Urgency,
)
from gateway.handlers.requests import (
    idempotency_key,
    request_actor,
    run_idempotently,
    run_idempotently_and_enqueue,
    stored_response,
    success_response,
    wallet_id,
)
from gateway.http.envelope import ApiError, list_page_payload
from gateway.http.query_parameters import requested_page
from gateway.intake.payout_requests import PayoutRequest, single_payout_payload
from gateway.openapi.operation import operation
from shared.identity import audit
from shared.ledger import prices
from shared.payouts import cancel, queries, retry
from shared.payouts.orders import PayoutOrder
from shared.payouts.rows import PayoutRow, duplicate_warning, payout_payload
from shared.platform import idempotency, task_queue
from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError, NotFound
from shared.platform.ids import DRIVER, PAYOUT, echo_id, new_id, parse_id, public_id
from shared.platform.pagination import Page
from shared.schema.audit import Action
from shared.schema.payouts import Rail

UNKNOWN_DRIVER_ID = uuid.UUID(int=0)
"""Replaces invalid driver ids in filters; no driver has it."""

INSTANT_SETTLEMENT = "~30 seconds"
"""The instant rail's speed, as the API reference shows it."""


def instant_payout_payload(row: PayoutRow) -> dict[str, Any]:
    return payout_payload(row) | {"requestedBy": row.requested_by, "estimatedSettlement": INSTANT_SETTLEMENT}


PAYOUT_ERROR_CODES = (
    "DRIVER_NOT_FOUND",
    "INSUFFICIENT_FUNDS",
    "KYC_PENDING",
    "KYC_REJECTED",
    "DRIVER_INACTIVE",
    "DUPLICATE_PAYOUT",
)
"""Why a payout is rejected."""


@operation(body=CreatePayout, response=Payout, error_codes=PAYOUT_ERROR_CODES, idempotent=True)
async def create_payout(request: web.Request, body: CreatePayout) -> web.Response:
    """Create a payout.

    Its amount, which includes the fee, is reserved at once. A second payout for a driver's load gets a warning or is
    rejected, depending on the wallet's policy.
    """
    shape = instant_payout_payload if body.urgency is Urgency.INSTANT else payout_payload
    return await _accept(request, build_payout_order(request, body, body.urgency), shape)


@operation(body=CreateInstantPayout, response=InstantPayout, error_codes=PAYOUT_ERROR_CODES, idempotent=True)
async def create_instant_payout(request: web.Request, body: CreateInstantPayout) -> web.Response:
    """Pay a driver within seconds."""
    order = build_payout_order(request, body, Urgency.INSTANT)._replace(requested_by=body.requestedBy)
    return await _accept(request, order, instant_payout_payload)


def build_payout_order(request: web.Request, body: PayoutFields, urgency: Urgency) -> PayoutOrder:
    """Build the order of a request body, for the wallet of the request's key."""
    if body.allowDuplicate and not body.duplicateReason:
        raise ApiError(
            400, "VALIDATION_ERROR", "`duplicateReason` is required with `allowDuplicate`", field="duplicateReason"
        )
    return PayoutOrder(
        id=new_id(),
        wallet_id=wallet_id(request),
        driver_id=parse_id(DRIVER, body.driverId),
        driver_reference=body.driverId,
        amount_cents=body.amount,
        rail=Rail(urgency.value),
        description=body.description,
        load_id=body.loadId,
        allow_duplicate=body.allowDuplicate,
        duplicate_reason=body.duplicateReason,
        scenario=request[SCENARIO],
    )


async def _accept(
    request: web.Request, order: PayoutOrder, shape: Callable[[PayoutRow], dict[str, Any]]
) -> web.Response:
    payout_request = PayoutRequest(
        wallet_id=order.wallet_id,
        orders=[order],
        key=idempotency_key(request),
        fingerprint=idempotency.request_fingerprint(request.method, request.path, await request.read()),
        request_id=request[REQUEST_ID],
        shape=single_payout_payload(shape),
        actor=request_actor(request),
    )
    result = await request.app[SERVICES].payout_intake.submit(payout_request)
    return stored_response(result.status, result.body, replayed=result.replayed)


@operation(query=InstantFeeQuery, response=InstantFee)
async def quote_instant_fee(request: web.Request, parameters: InstantFeeQuery) -> web.Response:
    """Quote the fee of an instant payout."""
    amount_cents = parameters.amount
    price_list = await request.app[SERVICES].read(prices.load_price_list)
    fee_cents = price_list.fee_cents(Rail.INSTANT, amount_cents)
    return success_response(
        request,
        {
            "amount": amount_cents,
            "fee": fee_cents,
            "feePercent": price_list.price_for(Rail.INSTANT, amount_cents).basis_points / 100,
            "total": amount_cents + fee_cents,
            "estimatedDeposit": amount_cents - fee_cents,
        },
    )


@operation(response=Payout, error_codes=("PAYOUT_NOT_FOUND",))
async def get_payout(request: web.Request) -> web.Response:
    """Return a payout."""
    wallet, text = wallet_id(request), request.match_info["id"]
    payout_id = parse_id(PAYOUT, text)
    row = None
    if payout_id is not None:
        row = await request.app[SERVICES].read(lambda connection: queries.load_payout(connection, wallet, payout_id))
    if row is None:
        raise NotFound(f"No payout {echo_id(PAYOUT, text)}", code="PAYOUT_NOT_FOUND")
    return success_response(request, payout_payload(row))


@operation(response=CanceledPayout, error_codes=("PAYOUT_NOT_FOUND", "PAYOUT_NOT_CANCELABLE"), idempotent=True)
async def cancel_payout(request: web.Request) -> web.Response:
    """Cancel a payout that is not submitted yet."""
    wallet, actor, text = wallet_id(request), request_actor(request), request.match_info["id"]
    payout_id = parse_id(PAYOUT, text)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        row = _row_or_raise(
            text, payout_id, cancel.cancel_wallet_payouts(connection, wallet, [payout_id], now) if payout_id else {}
        )
        record_status_changes(connection, actor, Action.PAYOUT_CANCEL, [row], now)
        return {"id": text, "status": row.status, "canceledAt": format_rfc3339(now), "amount": row.amount_cents}

    return await run_idempotently(request, work)


@operation(
    response=RetriedPayout,
    error_codes=("PAYOUT_NOT_FOUND", "PAYOUT_NOT_RETRYABLE", "PAYOUT_HELD", *PAYOUT_ERROR_CODES[1:]),
    idempotent=True,
)
async def retry_payout(request: web.Request) -> web.Response:
    """Queue a failed payout for another attempt, and reserve its money again."""
    services, wallet, text = request.app[SERVICES], wallet_id(request), request.match_info["id"]
    payout_id, actor = parse_id(PAYOUT, text), request_actor(request)
    queued: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        outcomes = (
            retry.retry_wallet_payouts(
                connection, wallet, [payout_id], now, grace=services.wake_up_grace, scenario=request[SCENARIO]
            )
            if payout_id
            else {}
        )
        row = _row_or_raise(text, payout_id, outcomes)
        record_status_changes(connection, actor, Action.PAYOUT_RETRY, [row], now)
        queued.append(row.id)
        payload: dict[str, Any] = {
            "id": text,
            "status": row.status,
            "retriedAt": format_rfc3339(now),
            "attempt": row.attempt,
        }
        if row.duplicate_of is not None:
            payload["warnings"] = [duplicate_warning(row.duplicate_of)]
        return payload

    return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, queued)


def record_status_changes(
    connection: sa.Connection,
    actor: audit.Actor,
    action: Action,
    outcomes: Iterable[PayoutRow | DomainError],
    now: datetime,
) -> None:
    """Record in the audit log the payouts whose status changed."""
    rows = [row for row in outcomes if isinstance(row, PayoutRow)]
    before = queries.previous_statuses(connection, rows)
    audit.record_entries(
        connection,
        [
            audit.Entry(actor, action, public_id(PAYOUT, row.id), {"status": before[row.id]}, {"status": row.status})
            for row in rows
        ],
        now,
    )


def _row_or_raise(
    text: str, payout_id: uuid.UUID | None, outcomes: Mapping[uuid.UUID, PayoutRow | DomainError]
) -> PayoutRow:
    outcome = (
        outcomes[payout_id] if payout_id else NotFound(f"No payout {echo_id(PAYOUT, text)}", code="PAYOUT_NOT_FOUND")
    )
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


@operation(query=ListPayouts, response=ListPage[Payout])
async def list_payouts(request: web.Request, listing: ListPayouts) -> web.Response:
    """List payouts, newest first.

    An unknown driver as a filter finds nothing.
    """
    wallet, page = wallet_id(request), requested_page(listing, PAYOUT)
    status = None if listing.status is UNSET else listing.status
    driver_id = None if listing.driverId is UNSET else parse_id(DRIVER, listing.driverId) or UNKNOWN_DRIVER_ID
    key = None if listing.idempotencyKey is UNSET else listing.idempotencyKey
    now = request.app[SERVICES].clock.now()

    def read(connection: sa.Connection) -> Page[PayoutRow]:
        ids = None if key is None else idempotency.load_created_ids(connection, wallet, key, now)
        return queries.load_payout_page(connection, wallet, page, status=status, driver_id=driver_id, ids=ids)

    found = await request.app[SERVICES].read(read)
    return success_response(request, list_page_payload([payout_payload(row) for row in found.rows], found, page))
