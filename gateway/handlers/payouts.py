"""Endpoints of payouts: create, instant pay and its fee, list, get."""

import enum
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from aiohttp import web

from gateway import query
from gateway.decoding import decoded
from gateway.envelope import page as shaped_page
from gateway.handlers.common import (
    AmountCents,
    Description,
    Reference,
    answer,
    idempotency_key,
    no_body,
    once,
    success,
    wallet_id,
)
from gateway.payout_intake import PayoutRequest, only
from gateway.state import REQUEST_ID, SERVICES
from shared import broker, idempotency, prices
from shared.clock import rfc3339
from shared.errors import NotFound, Refusal
from shared.ids import DRIVER, PAYOUT, new_id, parse
from shared.models.payouts import PayoutStatus, Rail
from shared.payouts import cancel as canceling
from shared.payouts import reading
from shared.payouts import retry as retrying
from shared.payouts.accept import Order
from shared.payouts.edges import LIMIT_CENTS
from shared.payouts.rows import PayoutRow, public

DriverReference = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Urgency(enum.StrEnum):
    """How fast; names the rail (conventions: Urgency and rail)."""

    STANDARD = "standard"
    SAME_DAY = "same_day"
    INSTANT = "instant"


class CreatePayout(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts`."""

    driverId: DriverReference
    amount: AmountCents
    urgency: Urgency = Urgency.STANDARD
    description: Description | None = None
    loadId: Reference | None = None


class CreateInstantPayout(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts/instant`."""

    driverId: DriverReference
    amount: AmountCents
    requestedBy: Reference | None = None
    description: Description | None = None
    loadId: Reference | None = None


SETTLEMENT = "~30 seconds"
"""What the API says of the instant rail's speed."""


def instant_public(row: PayoutRow) -> dict[str, Any]:
    """An instant payout as its endpoint shows it."""
    return public(row) | {"requestedBy": row.requested_by, "estimatedSettlement": SETTLEMENT}


async def create(request: web.Request) -> web.Response:
    """Accepts a payout."""
    body, raw = await decoded(request, CreatePayout)
    show = instant_public if body.urgency is Urgency.INSTANT else public
    return await _accept(request, raw, order_of(request, body, body.urgency), show)


async def create_instant(request: web.Request) -> web.Response:
    """Accepts an instant payout."""
    body, raw = await decoded(request, CreateInstantPayout)
    order = order_of(request, body, Urgency.INSTANT)._replace(requested_by=body.requestedBy)
    return await _accept(request, raw, order, instant_public)


def order_of(request: web.Request, body: CreatePayout | CreateInstantPayout, urgency: Urgency) -> Order:
    """The order that a body asks for, on the wallet of the request's key."""
    return Order(
        id=new_id(),
        wallet_id=wallet_id(request),
        driver_id=parse(DRIVER, body.driverId),
        driver_reference=body.driverId,
        amount_cents=body.amount,
        rail=Rail(urgency.value),
        description=body.description,
        load_id=body.loadId,
    )


async def _accept(
    request: web.Request, raw: bytes, order: Order, shape: Callable[[PayoutRow], dict[str, Any]]
) -> web.Response:
    asked = PayoutRequest(
        wallet_id=order.wallet_id,
        orders=[order],
        key=idempotency_key(request),
        fingerprint=idempotency.fingerprint(request.method, request.path, raw),
        request_id=request[REQUEST_ID],
        shape=only(shape),
    )
    got = await request.app[SERVICES].payout_intake.submit(asked)
    return answer(got.status, got.body, replayed=got.replayed)


async def instant_fee(request: web.Request) -> web.Response:
    """Quotes the fee of an instant payout: what a payout of that amount would be charged."""
    query.only(request, "amount")
    amount_cents = query.integer(request, "amount", default=None, most=LIMIT_CENTS[Rail.INSTANT])
    price_list = await request.app[SERVICES].read(prices.load)
    fee_cents = price_list.fee_cents(Rail.INSTANT, amount_cents)
    return success(
        request,
        {
            "amount": amount_cents,
            "fee": fee_cents,
            "feePercent": price_list.line(Rail.INSTANT, amount_cents).basis_points / 100,
            "total": amount_cents + fee_cents,
            "estimatedDeposit": amount_cents - fee_cents,
        },
    )


async def get(request: web.Request) -> web.Response:
    """One payout."""
    wallet, text = wallet_id(request), request.match_info["id"]
    payout_id = parse(PAYOUT, text)
    row = None
    if payout_id is not None:
        row = await request.app[SERVICES].read(lambda connection: reading.get(connection, wallet, payout_id))
    if row is None:
        raise NotFound(f"No payout {text[:100]}", code="PAYOUT_NOT_FOUND")
    return success(request, public(row))


async def cancel(request: web.Request) -> web.Response:
    """Calls a payout off, if it is not submitted yet."""
    raw = await no_body(request)
    wallet, text = wallet_id(request), request.match_info["id"]
    payout_id = parse(PAYOUT, text)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        row = _decided(text, payout_id, canceling.cancel(connection, wallet, [payout_id], now) if payout_id else {})
        return {"id": text, "status": row.status, "canceledAt": rfc3339(now), "amount": row.amount_cents}

    return await once(request, raw, work)


async def retry(request: web.Request) -> web.Response:
    """Queues a failed payout again: another attempt, whose money is reserved anew."""
    raw = await no_body(request)
    services, wallet, text = request.app[SERVICES], wallet_id(request), request.match_info["id"]
    payout_id = parse(PAYOUT, text)
    queued: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        answers = retrying.retry(connection, wallet, [payout_id], now, grace=services.grace) if payout_id else {}
        row = _decided(text, payout_id, answers)
        queued.append(row.id)
        return {"id": text, "status": row.status, "retriedAt": rfc3339(now), "attempt": row.attempt}

    response = await once(request, raw, work)
    services.doorbell.ring(broker.SUBMIT_PAYOUTS, queued)
    return response


def _decided(text: str, payout_id: uuid.UUID | None, answers: Mapping[uuid.UUID, PayoutRow | Refusal]) -> PayoutRow:
    outcome = answers[payout_id] if payout_id else NotFound(f"No payout {text[:100]}", code="PAYOUT_NOT_FOUND")
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


async def page(request: web.Request) -> web.Response:
    """A page of payouts, newest first. A filter by an unknown driver finds nothing."""
    query.only(request, "page", "pageSize", "status", "driverId")
    wallet, paging = wallet_id(request), query.paging(request)
    status = query.choice(request, "status", PayoutStatus)
    text = request.query.get("driverId")
    driver_id = parse(DRIVER, text) if text is not None else None
    if text is not None and driver_id is None:
        return success(request, shaped_page([], 0, paging.number, paging.size))
    found = await request.app[SERVICES].read(
        lambda connection: reading.page(
            connection, wallet, number=paging.number, size=paging.size, status=status, driver_id=driver_id
        )
    )
    items = [public(row) for row in found.rows]
    return success(request, shaped_page(items, found.total, paging.number, paging.size))
