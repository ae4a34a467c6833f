"""Endpoints of the wallet's money: balance, top-up."""

import enum
from typing import Any

import msgspec
from aiohttp import web

from gateway import query
from gateway.decoding import decoded
from gateway.envelope import page as shaped_page
from gateway.handlers.common import AmountCents, Description, once, success, wallet_id
from gateway.state import CREDENTIAL, SERVICES
from shared import broker, funding, ledger
from shared.clock import rfc3339
from shared.ids import PAYOUT, TRANSACTION, show
from shared.ledger import statement


class Method(enum.StrEnum):
    """How the money comes: `bank_transfer` takes days, `rtp` seconds."""

    BANK_TRANSFER = "bank_transfer"
    RTP = "rtp"


class Topup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /funding/topup`."""

    amount: AmountCents
    description: Description = "Wallet funding"
    method: Method = Method.BANK_TRANSFER


async def balance(request: web.Request) -> web.Response:
    """The wallet's balance."""
    query.only(request)
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


async def topup(request: web.Request) -> web.Response:
    """Asks for a top-up; it is pending until the provider has confirmed it."""
    body, raw = await decoded(request, Topup)
    services, wallet = request.app[SERVICES], wallet_id(request)
    asked: list[funding.TopupRow] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        row = funding.request(
            connection, wallet, body.amount, body.method.value, body.description, now, grace=services.grace
        )
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

    answer = await once(request, raw, work)
    services.doorbell.ring(broker.REQUEST_TOPUPS, [row.id for row in asked])
    return answer


async def transactions(request: web.Request) -> web.Response:
    """A page of the wallet's statement, newest first; `balance` is what was available after each line."""
    query.only(request, "page", "pageSize", "type")
    wallet, paging = wallet_id(request), query.paging(request)
    line_type = query.choice(request, "type", statement.LineType)
    lines, total = await request.app[SERVICES].read(
        lambda connection: statement.page(
            connection, wallet, number=paging.number, size=paging.size, line_type=line_type
        )
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
        for line in lines
    ]
    return success(request, shaped_page(items, total, paging.number, paging.size))
