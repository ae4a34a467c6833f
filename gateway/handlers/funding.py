"""Endpoints of the wallet's money: balance, top-up, statement, projection."""

import uuid
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import CREDENTIAL, SERVICES
from gateway.handlers.common_shapes import DatedListPage
from gateway.handlers.funding_shapes import (
    Balance,
    CreateTopup,
    ListTransactions,
    Projection,
    ProjectionQuery,
    Topup,
    Transaction,
)
from gateway.handlers.requests import (
    request_actor,
    run_idempotently_and_enqueue,
    success_response,
    wallet_id,
)
from gateway.http.csv_tables import csv_body, csv_file_response
from gateway.http.envelope import ApiError
from gateway.http.envelope import list_page_payload as shaped_page
from gateway.http.query_parameters import Format, parse_time_range, requested_page
from gateway.openapi.operation import operation
from shared import ledger
from shared.funding import topups
from shared.funding.projection import PendingTotal, project_funding
from shared.identity import audit
from shared.ledger import statement
from shared.platform import task_queue
from shared.platform.clock import format_rfc3339
from shared.platform.ids import PAYOUT, TRANSACTION, public_id
from shared.schema.audit import Action


@operation(response=Balance)
async def get_balance(request: web.Request) -> web.Response:
    """Shows the wallet's balance."""
    wallet = wallet_id(request)
    held = await request.app[SERVICES].read(lambda connection: ledger.load_balances(connection, wallet))
    return success_response(
        request,
        {
            "available": held.available_cents,
            "pending": held.pending_funding_cents,
            "inTransit": held.in_transit_cents,
            "currency": request[CREDENTIAL].currency,
        },
    )


@operation(body=CreateTopup, response=Topup, idempotent=True)
async def create_topup(request: web.Request, body: CreateTopup) -> web.Response:
    """Tops the wallet up.

    The money is pending until Paystream has confirmed it: days for a bank transfer, seconds for RTP.
    """
    services, wallet, actor = request.app[SERVICES], wallet_id(request), request_actor(request)
    asked: list[uuid.UUID] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        row = topups.request_topup(
            connection, wallet, body.amount, body.method.value, body.description, now, grace=services.wake_up_grace
        )
        facts = {"amount": row.amount_cents, "method": body.method.value}
        entry = audit.Entry(actor, Action.TOPUP_CREATE, public_id(TRANSACTION, row.id), after=facts)
        audit.record_entries(connection, [entry], now)
        asked.append(row.id)
        return {
            "transactionId": public_id(TRANSACTION, row.id),
            "amount": row.amount_cents,
            "balance": row.balance_cents,
            "status": row.status,
            "method": body.method.value,
            "description": body.description,
            "createdAt": format_rfc3339(row.created_at),
        }

    return await run_idempotently_and_enqueue(request, work, task_queue.REQUEST_TOPUPS, asked)


@operation(query=ListTransactions, response=DatedListPage[Transaction], csv=True)
async def list_transactions(request: web.Request, listing: ListTransactions) -> web.Response:
    """Lists the wallet's statement, newest first.

    `get_balance` is what was available after each line. From `from` on and before `to`, `total` is counted to
    100,000 and
    `totalIsMinimum` says whether there are more. With `format=csv` all of it comes as a file, oldest first, up to
    100,000 lines; beyond that, ask for a shorter time.
    """
    since, until = parse_time_range(listing.since, listing.until)
    asked = statement.StatementFilter(None if listing.type is UNSET else listing.type, since, until)
    if listing.format is Format.CSV:
        return await _exported(request, listing, asked)
    wallet, part = wallet_id(request), requested_page(listing, TRANSACTION)
    found = await request.app[SERVICES].read(
        lambda connection: statement.load_statement_page(connection, wallet, part, asked)
    )
    items = [
        {
            "id": public_id(TRANSACTION, line.id),
            "type": line.type,
            "amount": line.amount_cents,
            "balance": line.available_after_cents,
            "description": line.description,
            "payoutId": line.payout_id and public_id(PAYOUT, line.payout_id),
            "topupId": line.topup_id and public_id(TRANSACTION, line.topup_id),
            "createdAt": format_rfc3339(line.created_at),
        }
        for line in found.rows
    ]
    shown = shaped_page(items, found, part)
    if asked.is_dated:
        shown["totalIsMinimum"] = found.total >= statement.LINES_COUNTED_MAX
    return success_response(request, shown)


STATEMENT_COLUMNS: Final = (
    "createdAt", "type", "amount", "balance", "changeUsd", "balanceUsd", "description", "payoutId", "topupId", "id",
)  # fmt: skip
"""Of the statement as a file: cents as in the API, and the same in dollars, with the sign of the change."""


async def _exported(request: web.Request, listing: ListTransactions, asked: statement.StatementFilter) -> web.Response:
    for name, value in (("page", listing.page), ("cursor", listing.cursor)):
        if value is not UNSET:
            raise ApiError(400, "VALIDATION_ERROR", f"A file is not made of pages: leave {name} out", field=name)
    services, wallet = request.app[SERVICES], wallet_id(request)

    def read(connection: sa.Connection) -> bytes:
        return csv_body(STATEMENT_COLUMNS, map(_cells, statement.load_all_statement_lines(connection, wallet, asked)))

    async with services.export:
        body = await services.read_snapshot(read)
    return csv_file_response("statement.csv", body)


def _cells(line: statement.StatementLine) -> tuple[Any, ...]:
    return (
        format_rfc3339(line.created_at),
        line.type.value,
        line.amount_cents,
        line.available_after_cents,
        Decimal(line.change_cents).scaleb(-2),
        Decimal(line.available_after_cents).scaleb(-2),
        line.description,
        line.payout_id and public_id(PAYOUT, line.payout_id),
        line.topup_id and public_id(TRANSACTION, line.topup_id),
        public_id(TRANSACTION, line.id),
    )


@operation(query=ProjectionQuery, response=Projection)
async def get_projection(request: web.Request, asked: ProjectionQuery) -> web.Response:
    """Projects the balance: what scheduled batches will take out of it, day by day (UTC).

    `shortfall` is the first day on which what is available now will not cover them. Pending top-ups are shown on the
    day on which they may be there, and are not counted on. What has left `available` already is in `openPayouts`;
    batches that wait for somebody to release them, on no day, are in `unscheduled`.
    """
    services, wallet = request.app[SERVICES], wallet_id(request)
    now = services.clock.now()
    found = await services.read_snapshot(lambda connection: project_funding(connection, wallet, now, asked.days))
    shortfall = found.shortfall
    return success_response(
        request,
        {
            "currentBalance": found.available_cents,
            "projectedBalance": found.available_cents - found.outflow_cents,
            "projectedOutflow": found.outflow_cents,
            "dailyProjection": [
                {
                    "date": day.date.isoformat(),
                    "outflow": day.outflow_cents,
                    "pendingTopups": day.topups_cents,
                    "settling": day.settling_cents,
                }
                for day in found.days
            ],
            "shortfall": shortfall and {"date": shortfall.date.isoformat(), "amount": shortfall.missing_cents},
            "openPayouts": _counted(found.open_payouts),
            "pendingTopups": _counted(found.pending_topups),
            "unscheduled": _counted(found.unscheduled),
        },
    )


def _counted(waiting: PendingTotal) -> dict[str, int]:
    return {"count": waiting.number, "amount": waiting.amount_cents}
