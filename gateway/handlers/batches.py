"""Handlers of batches: quote, create, list and get."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SERVICES
from gateway.handlers.batch_shapes import Batch, BatchDetails, BatchQuote, CreateBatch, ListBatches
from gateway.handlers.bulk import convert_item, convert_to_order
from gateway.handlers.bulk_shapes import BulkPayout
from gateway.handlers.common_shapes import ListPage
from gateway.handlers.payouts import PAYOUT_ERROR_CODES
from gateway.handlers.requests import (
    idempotency_key,
    parse_time,
    request_actor,
    run_idempotently,
    success_response,
    wallet_id,
)
from gateway.http.decoding import BATCH_BYTES_MAX
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import requested_page
from gateway.openapi.operation import operation
from shared.batches import create, queries
from shared.identity import audit
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.rows import PayoutRow, duplicate_warning, payout_payload
from shared.platform import idempotency
from shared.platform.errors import DomainError, InvalidRequest
from shared.platform.ids import BATCH, new_id, parse_id
from shared.schema.audit import Action
from shared.schema.batch_rows import batch_not_found, batch_payload
from shared.schema.payouts import Rail

SCHEDULE_DAYS_MAX: Final = 366
WARNINGS_SHOWN_MAX: Final = 100
BATCH_ERROR_CODES: Final = tuple(code for code in PAYOUT_ERROR_CODES if code != "INSUFFICIENT_FUNDS")
"""Why an item is rejected; the balance is checked at the release."""


@operation(body=CreateBatch, response=BatchQuote, error_codes=BATCH_ERROR_CODES, body_bytes_max=BATCH_BYTES_MAX)
async def quote_batch(request: web.Request, body: CreateBatch) -> web.Response:
    """Return the totals of a batch without creating it.

    The body and its validation are those of `POST /batches`; each invalid item is in `details.items`.
    """
    services = request.app[SERVICES]
    new = await _build_batch(request, body)

    def work(connection: sa.Connection) -> create.BatchQuote:
        context = load_order_context(connection, _orders(new))
        return create.compute_batch_quote(connection, new, context, services.clock.now())

    async with services.large_change:
        found = await services.read(work)
    total, fees = sum(row.amount_cents for row in found.rows), sum(row.fee_cents for row in found.rows)
    return success_response(
        request,
        {
            "payoutCount": len(found.rows),
            "totalAmount": total,
            "totalFees": fees,
            "netAmount": total - fees,
            "available": found.available_cents,
            "availableAfter": found.available_cents - total,
            **_warnings(found.rows),
        },
    )


@operation(
    body=CreateBatch,
    response=Batch,
    error_codes=BATCH_ERROR_CODES,
    idempotent=True,
    body_bytes_max=BATCH_BYTES_MAX,
)
async def create_batch(request: web.Request, body: CreateBatch) -> web.Response:
    """Create a batch of up to 10,000 payouts.

    All of them are accepted, or none: `details.items` lists the invalid ones. The money is reserved when the batch is
    released, at `scheduledFor` or by `release` or `run`.
    """
    new, actor, key = await _build_batch(request, body), request_actor(request), idempotency_key(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        batch, rows = create.insert_batch(connection, new, load_order_context(connection, _orders(new)), now)
        payload = batch_payload(batch)
        after = {name: payload[name] for name in ("urgency", "payoutCount", "totalAmount", "scheduledFor", "status")}
        after |= idempotency.audit_key_hash(key)
        audit.record_entries(connection, [audit.Entry(actor, Action.BATCH_CREATE, payload["id"], after=after)], now)
        return payload | _warnings(rows)

    async with request.app[SERVICES].large_change:
        return await run_idempotently(request, work)


async def _build_batch(request: web.Request, body: CreateBatch) -> create.NewBatch:
    """Convert a batch's items on a thread: there can be thousands."""
    batch_id = new_id()
    now = request.app[SERVICES].clock.now()
    scheduled_for = parse_schedule_time(body.scheduledFor, now) if body.scheduledFor is not None else None

    def convert(content: Any) -> PayoutOrder | DomainError:
        item = convert_item(content, BulkPayout)
        order = item if isinstance(item, DomainError) else convert_to_order(request, item, body.urgency)
        if isinstance(order, DomainError):
            return order
        return order._replace(batch_id=batch_id, refuse_duplicate=body.refuseDuplicates)

    orders = await asyncio.to_thread(lambda: [convert(content) for content in body.payouts])
    return create.NewBatch(batch_id, wallet_id(request), body.name, Rail(body.urgency.value), scheduled_for, orders)


def _orders(new: create.NewBatch) -> list[PayoutOrder]:
    return [order for order in new.orders if isinstance(order, PayoutOrder)]


def _warnings(rows: Sequence[PayoutRow]) -> dict[str, Any]:
    duplicates = [(index, row.duplicate_of) for index, row in enumerate(rows) if row.duplicate_of is not None]
    warnings = [{**duplicate_warning(first), "index": index} for index, first in duplicates[:WARNINGS_SHOWN_MAX]]
    return {"warnings": warnings} if warnings else {}


def parse_schedule_time(text: str, now: datetime) -> datetime:
    """Parse a batch's release time.

    Raises:
        InvalidRequest: it is not an RFC 3339 time with an offset, is past, or more than a year ahead.

    """
    found = parse_time(text, "scheduledFor")
    if found <= now:
        raise InvalidRequest(
            "`scheduledFor` is in the past; leave it out and release the batch instead", field="scheduledFor"
        )
    if (found - now).days >= SCHEDULE_DAYS_MAX:
        raise InvalidRequest(f"`scheduledFor` can be at most {SCHEDULE_DAYS_MAX} days ahead", field="scheduledFor")
    return found


@operation(query=ListBatches, response=ListPage[Batch])
async def list_batches(request: web.Request, listing: ListBatches) -> web.Response:
    """List batches, newest first."""
    wallet, page = wallet_id(request), requested_page(listing, BATCH)
    status = None if listing.status is UNSET else listing.status
    found = await request.app[SERVICES].read(
        lambda connection: queries.load_batch_page(connection, wallet, page, status=status)
    )
    return success_response(request, list_page_payload([batch_payload(row) for row in found.rows], found, page))


@operation(response=BatchDetails, error_codes=("BATCH_NOT_FOUND",))
async def get_batch(request: web.Request) -> web.Response:
    """Return a batch with up to 1,000 of its payouts; `/batches/{id}/payouts` lists all of them."""
    wallet, batch_id = wallet_id(request), batch_id_from_path(request)
    found = await request.app[SERVICES].read(lambda connection: queries.load_batch(connection, wallet, batch_id))
    if found is None:
        raise batch_not_found(batch_id)
    return success_response(
        request,
        batch_payload(found.batch)
        | {
            "payouts": [payout_payload(row) for row in found.payouts],
            "payoutsTruncated": found.batch.payout_count > len(found.payouts),
            "countsByStatus": found.by_status,
            "amountsByStatus": found.cents_by_status,
        },
    )


def batch_id_from_path(request: web.Request) -> uuid.UUID:
    """The batch id in the path; raises NotFound if the text is no batch id."""
    text = request.match_info["id"]
    batch_id = parse_id(BATCH, text)
    if batch_id is None:
        raise batch_not_found(text)
    return batch_id
