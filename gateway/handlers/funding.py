"""Handlers of the wallet's money: balance, top-up, statement, projection."""

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
from gateway.http.envelope import ApiError, list_page_payload
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
    """Return the wallet's balance."""
    wallet = wallet_id(request)
    balances = await request.app[SERVICES].read(lambda connection: ledger.load_balances(connection, wallet))
    return success_response(
        request,
        {
            "available": balances.available_cents,
            "pending": balances.pending_funding_cents,
            "inTransit": balances.in_transit_cents,
            "currency": request[CREDENTIAL].currency,
        },
    )


@operation(body=CreateTopup, response=Topup, idempotent=True)
async def create_topup(request: web.Request, body: CreateTopup) -> web.Response:
    """Top up the wallet.

    The money is pending until Paystream has confirmed it: days for a bank transfer, seconds for RTP.
    """
    services, wallet, actor = request.app[SERVICES], wallet_id(request), request_actor(request)
    topup_ids: list[uuid.UUID] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        row = topups.request_topup(
            connection, wallet, body.amount, body.method.value, body.description, now, grace=services.wake_up_grace
        )
        after = {"amount": row.amount_cents, "method": body.method.value}
        entry = audit.Entry(actor, Action.TOPUP_CREATE, public_id(TRANSACTION, row.id), after=after)
        audit.record_entries(connection, [entry], now)
        topup_ids.append(row.id)
        return {
            "transactionId": public_id(TRANSACTION, row.id),
            "amount": row.amount_cents,
            "balance": row.balance_cents,
            "status": row.status,
            "method": body.method.value,
            "description": body.description,
            "createdAt": format_rfc3339(row.created_at),
        }

    return await run_idempotently_and_enqueue(request, work, task_queue.REQUEST_TOPUPS, topup_ids)


@operation(query=ListTransactions, response=DatedListPage[Transaction], csv=True)
async def list_transactions(request: web.Request, listing: ListTransactions) -> web.Response:
    """List the wallet's statement, newest first.

    `balance` is the available balance after each entry. `from` is inclusive, `to` exclusive; with either, `total` is
    counted up to 100,000, and `totalIsMinimum` is true if there are more. `format=csv` returns the statement as a file,
    oldest first, with up to 100,000 entries; use a shorter range for more.
    """
    since, until = parse_time_range(listing.since, listing.until)
    filters = statement.StatementFilter(None if listing.type is UNSET else listing.type, since, until)
    if listing.format is Format.CSV:
        return await _export_statement(request, listing, filters)
    wallet, page = wallet_id(request), requested_page(listing, TRANSACTION)
    found = await request.app[SERVICES].read(
        lambda connection: statement.load_statement_page(connection, wallet, page, filters)
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
    payload = list_page_payload(items, found, page)
    if filters.is_dated:
        payload["totalIsMinimum"] = found.total >= statement.LINES_COUNTED_MAX
    return success_response(request, payload)


STATEMENT_COLUMNS: Final = (
    "createdAt", "type", "amount", "balance", "changeUsd", "balanceUsd", "description", "payoutId", "topupId", "id",
)  # fmt: skip
"""The CSV columns of the statement: cents as in the API, and signed dollars."""


async def _export_statement(
    request: web.Request, listing: ListTransactions, filters: statement.StatementFilter
) -> web.Response:
    for name, value in (("page", listing.page), ("cursor", listing.cursor)):
        if value is not UNSET:
            raise ApiError(400, "VALIDATION_ERROR", f"`{name}` can't be combined with `format=csv`", field=name)
    services, wallet = request.app[SERVICES], wallet_id(request)

    def read(connection: sa.Connection) -> bytes:
        return csv_body(STATEMENT_COLUMNS, map(_cells, statement.load_all_statement_lines(connection, wallet, filters)))

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
async def get_projection(request: web.Request, parameters: ProjectionQuery) -> web.Response:
    """Project the balance after scheduled batches, day by day (UTC).

    `shortfall` is the first day on which the available balance does not cover them. Pending top-ups are shown on the
    day of their expected arrival, and are not included in the projected balance. `openPayouts` have already left
    `available`; `unscheduled` batches wait for a release.
    """
    services, wallet = request.app[SERVICES], wallet_id(request)
    now = services.clock.now()
    found = await services.read_snapshot(lambda connection: project_funding(connection, wallet, now, parameters.days))
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
            "openPayouts": _count_and_amount(found.open_payouts),
            "pendingTopups": _count_and_amount(found.pending_topups),
            "unscheduled": _count_and_amount(found.unscheduled),
        },
    )


def _count_and_amount(waiting: PendingTotal) -> dict[str, int]:
    return {"count": waiting.number, "amount": waiting.amount_cents}
