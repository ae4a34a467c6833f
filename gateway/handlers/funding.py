"""Endpoints of the wallet's money: balance, top-up, statement, projection."""

import enum
from datetime import date
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway import shapes
from gateway.envelope import page as shaped_page
from gateway.handlers.common import AmountCents, Description, actor_of, once, success, wallet_id
from gateway.operation import operation
from gateway.query import Listing, wanted
from gateway.state import CREDENTIAL, SERVICES
from shared import audit, broker, funding, ledger
from shared.batches import reading
from shared.clock import rfc3339
from shared.ids import PAYOUT, TRANSACTION, show
from shared.ledger import statement
from shared.models.audit import Action


class Method(enum.StrEnum):
    """How the money comes: `bank_transfer` takes days, `rtp` seconds."""

    BANK_TRANSFER = "bank_transfer"
    RTP = "rtp"


class Topup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /funding/topup`."""

    amount: AmountCents
    description: Description = "Wallet funding"
    method: Method = Method.BANK_TRANSFER


@operation(answer=shapes.Balance)
async def balance(request: web.Request) -> web.Response:
    """Shows the wallet's balance."""
    wallet = wallet_id(request)
    held = await request.app[SERVICES].read(lambda connection: ledger.balances(connection, wallet))
    return success(
        request,
        {
            "available": held.available_cents,
            "pending": held.pending_funding_cents,
            "inTransit": held.in_transit_cents,
            "currency": request[CREDENTIAL].currency,
        },
    )


@operation(body=Topup, answer=shapes.Topup, once=True)
async def topup(request: web.Request, body: Topup) -> web.Response:
    """Tops the wallet up.

    The money is pending until Paystream has confirmed it: days for a bank transfer, seconds for RTP.
    """
    services, wallet, actor = request.app[SERVICES], wallet_id(request), actor_of(request)
    asked: list[funding.TopupRow] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        row = funding.request(
            connection, wallet, body.amount, body.method.value, body.description, now, grace=services.grace
        )
        facts = {"amount": row.amount_cents, "method": body.method.value}
        entry = audit.Entry(actor, Action.TOPUP_CREATE, show(TRANSACTION, row.id), after=facts)
        audit.record(connection, [entry], now)
        asked.append(row)
        return {
            "transactionId": show(TRANSACTION, row.id),
            "amount": row.amount_cents,
            "balance": row.balance_cents,
            "status": row.status,
            "method": body.method.value,
            "description": body.description,
            "createdAt": rfc3339(row.created_at),
        }

    answer = await once(request, work)
    services.doorbell.ring(broker.REQUEST_TOPUPS, [row.id for row in asked])
    return answer


class ListTransactions(Listing, kw_only=True):
    """Which lines of the statement."""

    type: statement.LineType | UnsetType = UNSET


@operation(query=ListTransactions, answer=shapes.Listed[shapes.Transaction])
async def transactions(request: web.Request, listing: ListTransactions) -> web.Response:
    """Lists the wallet's statement, newest first.

    `balance` is what was available after each line.
    """
    wallet, part = wallet_id(request), wanted(listing, TRANSACTION)
    line_type = None if listing.type is UNSET else listing.type
    found = await request.app[SERVICES].read(
        lambda connection: statement.page(connection, wallet, part, line_type=line_type)
    )
    items = [
        {
            "id": show(TRANSACTION, line.id),
            "type": line.type,
            "amount": line.amount_cents,
            "balance": line.available_after_cents,
            "description": line.description,
            "payoutId": line.payout_id and show(PAYOUT, line.payout_id),
            "topupId": line.topup_id and show(TRANSACTION, line.topup_id),
            "createdAt": rfc3339(line.created_at),
        }
        for line in found.rows
    ]
    return success(request, shaped_page(items, found, part))


class ProjectionQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How far to look."""

    days: Annotated[int, msgspec.Meta(ge=1, le=366, description="Days to look ahead, today included.")] = 30


@operation(query=ProjectionQuery, answer=shapes.Projection)
async def projection(request: web.Request, asked: ProjectionQuery) -> web.Response:
    """Projects the balance: what scheduled batches will take out of it, day by day (UTC)."""
    services, wallet = request.app[SERVICES], wallet_id(request)
    today = services.clock.now().date()

    def read(connection: sa.Connection) -> tuple[int, list[tuple[date, int]]]:
        available = ledger.balances(connection, wallet).available_cents
        return available, reading.outflow(connection, wallet, today, asked.days)

    available, days = await services.read(read)
    left, shortfall = available, None
    for day, cents in days:
        left -= cents
        if left < 0 and shortfall is None:
            shortfall = {"date": day.isoformat(), "amount": -left}
    return success(
        request,
        {
            "currentBalance": available,
            "projectedBalance": left,
            "projectedOutflow": available - left,
            "dailyProjection": [{"date": day.isoformat(), "outflow": cents} for day, cents in days],
            "shortfall": shortfall,
        },
    )
