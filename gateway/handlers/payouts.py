"""Endpoints of payouts: create, instant pay and its fee, list, get, cancel, retry."""

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
from gateway.http.envelope import ApiError
from gateway.http.envelope import list_page_payload as shaped_page
from gateway.http.query_parameters import requested_page
from gateway.intake.payouts import PayoutRequest, single_payout_payload
from gateway.openapi.operation import operation
from shared.identity import audit
from shared.ledger import prices
from shared.payouts import cancel as canceling
from shared.payouts import queries
from shared.payouts import retry as retrying
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
"""Stands for text that can't be an id: nobody has it."""

INSTANT_SETTLEMENT = "~30 seconds"
"""What the API says of the instant rail's speed."""


def instant_payout_payload(row: PayoutRow) -> dict[str, Any]:
    """An instant payout as its endpoint shows it."""
    return payout_payload(row) | {"requestedBy": row.requested_by, "estimatedSettlement": INSTANT_SETTLEMENT}


PAYOUT_ERROR_CODES = (
    "DRIVER_NOT_FOUND",
    "INSUFFICIENT_FUNDS",
    "KYC_PENDING",
    "KYC_REJECTED",
    "DRIVER_INACTIVE",
    "DUPLICATE_PAYOUT",
)
"""Why a payout is not accepted."""


@operation(body=CreatePayout, response=Payout, error_codes=PAYOUT_ERROR_CODES, idempotent=True)
async def create_payout(request: web.Request, body: CreatePayout) -> web.Response:
    """Creates a payout.

    Its amount is reserved at once; the fee is taken out of it. A second payout for a driver's load is warned of, or
    refused, by the wallet's policy.
    """
    shape = instant_payout_payload if body.urgency is Urgency.INSTANT else payout_payload
    return await _accept(request, build_payout_order(request, body, body.urgency), shape)


@operation(body=CreateInstantPayout, response=InstantPayout, error_codes=PAYOUT_ERROR_CODES, idempotent=True)
async def create_instant_payout(request: web.Request, body: CreateInstantPayout) -> web.Response:
    """Pays a driver within seconds."""
    order = build_payout_order(request, body, Urgency.INSTANT)._replace(requested_by=body.requestedBy)
    return await _accept(request, order, instant_payout_payload)


def build_payout_order(request: web.Request, body: PayoutFields, urgency: Urgency) -> PayoutOrder:
    """The order that a body asks for, on the wallet of the request's key."""
    if body.allowDuplicate and not body.duplicateReason:
        raise ApiError(
            400, "VALIDATION_ERROR", "duplicateReason is required with allowDuplicate", field="duplicateReason"
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
    asked = PayoutRequest(
        wallet_id=order.wallet_id,
        orders=[order],
        key=idempotency_key(request),
        fingerprint=idempotency.request_fingerprint(request.method, request.path, await request.read()),
        request_id=request[REQUEST_ID],
        shape=single_payout_payload(shape),
        actor=request_actor(request),
    )
    got = await request.app[SERVICES].payout_intake.submit(asked)
    return stored_response(got.status, got.body, replayed=got.replayed)


@operation(query=InstantFeeQuery, response=InstantFee)
async def quote_instant_fee(request: web.Request, asked: InstantFeeQuery) -> web.Response:
    """Quotes the fee of an instant payout: what a payout of that amount would be charged."""
    amount_cents = asked.amount
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
    """Shows a payout."""
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
    """Cancels a payout that is not submitted yet."""
    wallet, actor, text = wallet_id(request), request_actor(request), request.match_info["id"]
    payout_id = parse_id(PAYOUT, text)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        row = _decided(
            text, payout_id, canceling.cancel_wallet_payouts(connection, wallet, [payout_id], now) if payout_id else {}
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
    """Queues a failed payout again: another attempt, whose money is reserved anew."""
    services, wallet, text = request.app[SERVICES], wallet_id(request), request.match_info["id"]
    payout_id, actor = parse_id(PAYOUT, text), request_actor(request)
    queued: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        answers = (
            retrying.retry_wallet_payouts(
                connection, wallet, [payout_id], now, grace=services.wake_up_grace, scenario=request[SCENARIO]
            )
            if payout_id
            else {}
        )
        row = _decided(text, payout_id, answers)
        record_status_changes(connection, actor, Action.PAYOUT_RETRY, [row], now)
        queued.append(row.id)
        shown: dict[str, Any] = {
            "id": text,
            "status": row.status,
            "retriedAt": format_rfc3339(now),
            "attempt": row.attempt,
        }
        if row.duplicate_of is not None:
            shown["warnings"] = [duplicate_warning(row.duplicate_of)]
        return shown

    return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, queued)


def record_status_changes(
    connection: sa.Connection,
    actor: audit.Actor,
    action: Action,
    stepped: Iterable[PayoutRow | DomainError],
    now: datetime,
) -> None:
    """Notes in the audit log that payouts were taken a step further, those of them that were."""
    rows = [row for row in stepped if isinstance(row, PayoutRow)]
    before = queries.previous_statuses(connection, rows)
    audit.record_entries(
        connection,
        [
            audit.Entry(actor, action, public_id(PAYOUT, row.id), {"status": before[row.id]}, {"status": row.status})
            for row in rows
        ],
        now,
    )


def _decided(text: str, payout_id: uuid.UUID | None, answers: Mapping[uuid.UUID, PayoutRow | DomainError]) -> PayoutRow:
    outcome = (
        answers[payout_id] if payout_id else NotFound(f"No payout {echo_id(PAYOUT, text)}", code="PAYOUT_NOT_FOUND")
    )
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


@operation(query=ListPayouts, response=ListPage[Payout])
async def list_payouts(request: web.Request, listing: ListPayouts) -> web.Response:
    """Lists payouts, newest first.

    A filter by an unknown driver finds nothing.
    """
    wallet, part = wallet_id(request), requested_page(listing, PAYOUT)
    status = None if listing.status is UNSET else listing.status
    driver_id = None if listing.driverId is UNSET else parse_id(DRIVER, listing.driverId) or UNKNOWN_DRIVER_ID
    key = None if listing.idempotencyKey is UNSET else listing.idempotencyKey
    now = request.app[SERVICES].clock.now()

    def read(connection: sa.Connection) -> Page[PayoutRow]:
        ids = None if key is None else idempotency.load_created_ids(connection, wallet, key, now)
        return queries.load_payout_page(connection, wallet, part, status=status, driver_id=driver_id, ids=ids)

    found = await request.app[SERVICES].read(read)
    return success_response(request, shaped_page([payout_payload(row) for row in found.rows], found, part))
