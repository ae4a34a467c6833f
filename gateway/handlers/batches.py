"""Endpoints of batches: quote, create, list, get, their payouts; and of those that are scheduled."""

import asyncio
import enum
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway import shapes
from gateway.app_state import SERVICES, Services
from gateway.handlers.bulk import BulkPayout, convert_item, convert_to_order
from gateway.handlers.payouts import PAYOUT_ERROR_CODES, Urgency
from gateway.handlers.requests import (
    FutureTime,
    idempotency_key,
    parse_time,
    request_actor,
    run_idempotently,
    success_response,
    wallet_id,
)
from gateway.http.csv_tables import csv_body, csv_file_response
from gateway.http.decoding import BATCH_BYTES_MAX
from gateway.http.envelope import list_page_payload as shaped_page
from gateway.http.query_parameters import Format, PageQuery, ShortPageQuery, requested_page
from gateway.openapi.operation import operation
from shared.batches import queries
from shared.batches.create import BatchQuote, NewBatch
from shared.batches.create import compute_batch_quote as quoting
from shared.batches.create import insert_batch as creating
from shared.identity import audit
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.rows import PayoutRow, duplicate_warning, payout_payload
from shared.platform import idempotency
from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError, InvalidRequest
from shared.platform.ids import BATCH, PAYOUT, new_id, parse_id, public_id
from shared.platform.pagination import PageRequest
from shared.schema.audit import Action
from shared.schema.batch_rows import batch_not_found, batch_payload
from shared.schema.payouts import BatchStatus, PayoutStatus, Rail

BATCH_PAYOUTS_MAX: Final = 10_000
SCHEDULE_DAYS_MAX: Final = 366
WARNINGS_SHOWN_MAX: Final = 100


class CreateBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /batches`. Without `scheduledFor` it waits until it is released."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Weekly Payouts - 2026-01-31"])]
    payouts: Annotated[
        list[Any],
        msgspec.Meta(
            min_length=1,
            max_length=BATCH_PAYOUTS_MAX,
            extra_json_schema={"items": {"$ref": "#/components/schemas/BulkPayout"}},
        ),
    ]
    urgency: Urgency = Urgency.STANDARD
    scheduledFor: FutureTime | None = None
    refuseDuplicates: Annotated[
        bool,
        msgspec.Meta(
            description="Refuse a second live payout for a driver's load, whatever the wallet's policy; an item's own "
            "allowDuplicate wins."
        ),
    ] = False


BATCH_ERROR_CODES: Final = PAYOUT_ERROR_CODES[:1] + PAYOUT_ERROR_CODES[2:]
"""Why an item is not accepted: money is not asked about before the release."""


@operation(body=CreateBatch, response=shapes.BatchQuote, error_codes=BATCH_ERROR_CODES, body_bytes_max=BATCH_BYTES_MAX)
async def quote_batch(request: web.Request, body: CreateBatch) -> web.Response:
    """Says what a batch would come to, and writes nothing.

    It takes what `POST /batches` takes and refuses what that refuses, with every item at fault in `details.items`.
    """
    services = request.app[SERVICES]
    new = await _asked(request, body)

    def work(connection: sa.Connection) -> BatchQuote:
        return quoting(connection, new, load_order_context(connection, _orders(new)), services.clock.now())

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
    response=shapes.Batch,
    error_codes=BATCH_ERROR_CODES,
    idempotent=True,
    body_bytes_max=BATCH_BYTES_MAX,
)
async def create_batch(request: web.Request, body: CreateBatch) -> web.Response:
    """Creates a batch of up to 10,000 payouts.

    All of them are accepted, or none is: `details.items` says which can't be, and why. No money is reserved before the
    batch is released: at `scheduledFor`, or by `release` or `run`.
    """
    new, actor, key = await _asked(request, body), request_actor(request), idempotency_key(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        batch, rows = creating(connection, new, load_order_context(connection, _orders(new)), now)
        shown = batch_payload(batch)
        facts = {name: shown[name] for name in ("urgency", "payoutCount", "totalAmount", "scheduledFor", "status")}
        facts |= idempotency.audit_key_hash(key)
        audit.record_entries(connection, [audit.Entry(actor, Action.BATCH_CREATE, shown["id"], after=facts)], now)
        return shown | _warnings(rows)

    async with request.app[SERVICES].large_change:
        return await run_idempotently(request, work)


async def _asked(request: web.Request, body: CreateBatch) -> NewBatch:
    """The batch that a request asks for; thousands of items are read off the event loop."""
    batch_id = new_id()
    now = request.app[SERVICES].clock.now()
    scheduled_for = parse_schedule_time(body.scheduledFor, now) if body.scheduledFor is not None else None

    def order(content: Any) -> PayoutOrder | DomainError:
        item = convert_item(content, BulkPayout)
        made = item if isinstance(item, DomainError) else convert_to_order(request, item, body.urgency)
        if isinstance(made, DomainError):
            return made
        return made._replace(batch_id=batch_id, refuse_duplicate=body.refuseDuplicates)

    orders = await asyncio.to_thread(lambda: [order(content) for content in body.payouts])
    return NewBatch(batch_id, wallet_id(request), body.name, Rail(body.urgency.value), scheduled_for, orders)


def _orders(new: NewBatch) -> list[PayoutOrder]:
    return [order for order in new.orders if isinstance(order, PayoutOrder)]


def _warnings(rows: Sequence[PayoutRow]) -> dict[str, Any]:
    """The doubles among a batch's payouts, as the answer shows them; nothing where there are none."""
    doubles = [(index, row.duplicate_of) for index, row in enumerate(rows) if row.duplicate_of is not None]
    shown = [{**duplicate_warning(first), "index": index} for index, first in doubles[:WARNINGS_SHOWN_MAX]]
    return {"warnings": shown} if shown else {}


def parse_schedule_time(text: str, now: datetime) -> datetime:
    """The time that a batch is scheduled for.

    Raises:
        Invalid: it is no RFC 3339 time with an offset, is past, or lies more than a year ahead.

    """
    found = parse_time(text, "scheduledFor")
    if found <= now:
        raise InvalidRequest("scheduledFor is past; leave it out and release the batch instead", field="scheduledFor")
    if (found - now).days >= SCHEDULE_DAYS_MAX:
        raise InvalidRequest(f"scheduledFor may be at most {SCHEDULE_DAYS_MAX} days ahead", field="scheduledFor")
    return found


class ListBatches(ShortPageQuery, kw_only=True):
    """Which batches."""

    status: BatchStatus | UnsetType = UNSET


@operation(query=ListBatches, response=shapes.ListPage[shapes.Batch])
async def list_batches(request: web.Request, listing: ListBatches) -> web.Response:
    """Lists batches, newest first."""
    wallet, part = wallet_id(request), requested_page(listing, BATCH)
    status = None if listing.status is UNSET else listing.status
    found = await request.app[SERVICES].read(
        lambda connection: queries.load_batch_page(connection, wallet, part, status=status)
    )
    return success_response(request, shaped_page([batch_payload(row) for row in found.rows], found, part))


@operation(response=shapes.BatchDetails, error_codes=("BATCH_NOT_FOUND",))
async def get_batch(request: web.Request) -> web.Response:
    """Shows a batch with its payouts, at most 1,000 of them; `/batches/{id}/payouts` has them all."""
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


class ListBatchPayouts(PageQuery, kw_only=True):
    """Which of a batch's payouts."""

    pageSize: Annotated[int, msgspec.Meta(ge=1, le=queries.BATCH_PAYOUTS_SHOWN_MAX, description="Items a page.")] = 100
    status: PayoutStatus | UnsetType = UNSET
    format: Format = Format.JSON


@operation(query=ListBatchPayouts, response=shapes.ListPage[shapes.Payout], error_codes=("BATCH_NOT_FOUND",), csv=True)
async def list_batch_payouts(request: web.Request, listing: ListBatchPayouts) -> web.Response:
    """Lists a batch's payouts in the order in which they were handed in.

    With `format=csv` it is the batch's results: all of them, as a file.
    """
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    part = requested_page(listing, PAYOUT)
    status = None if listing.status is UNSET else listing.status
    if listing.format is Format.CSV:
        return await _exported(services, wallet, batch_id, status)
    found = await services.read(
        lambda connection: queries.load_batch_payouts(connection, wallet, batch_id, part, status=status)
    )
    if found is None:
        raise batch_not_found(batch_id)
    return success_response(request, shaped_page([payout_payload(row) for row in found.rows], found, part))


async def _exported(
    services: Services, wallet: uuid.UUID, batch_id: uuid.UUID, status: PayoutStatus | None
) -> web.Response:
    """A batch's results; thousands of rows become a file off the event loop."""

    def read(connection: sa.Connection) -> bytes | None:
        found = queries.load_batch_payouts(connection, wallet, batch_id, PageRequest(BATCH_PAYOUTS_MAX), status=status)
        return None if found is None else csv_body(RESULT_COLUMNS, map(_result, found.rows))

    async with services.export:
        body = await services.read(read)
    if body is None:
        raise batch_not_found(batch_id)
    return csv_file_response(f"{public_id(BATCH, batch_id)}.csv", body)


RESULT_COLUMNS: Final = (
    "payoutId",
    "driverId",
    "driverName",
    "loadId",
    "description",
    "amount",
    "fee",
    "netAmount",
    "status",
    "rail",
    "requestedAt",
    "completedAt",
    "failureCode",
    "failureMessage",
)
"""Of a batch's results; amounts in cents."""


def _result(row: PayoutRow) -> list[Any]:
    shown = payout_payload(row)
    failure = shown.get("failure", {})
    cells = {
        **shown,
        "payoutId": shown["id"],
        "failureCode": failure.get("code"),
        "failureMessage": failure.get("message"),
    }
    return [cells[name] for name in RESULT_COLUMNS]


def batch_id_from_path(request: web.Request) -> uuid.UUID:
    """The batch that the path names.

    Raises:
        NotFound: nothing can have that id.

    """
    text = request.match_info["id"]
    batch_id = parse_id(BATCH, text)
    if batch_id is None:
        raise batch_not_found(text)
    return batch_id


class ScheduledStatus(enum.StrEnum):
    """What scheduled payouts are filtered by."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class ListScheduled(ShortPageQuery, kw_only=True):
    """Which scheduled batches."""

    status: ScheduledStatus | UnsetType = UNSET


@operation(query=ListScheduled, response=shapes.ListPage[shapes.Batch])
async def list_scheduled_batches(request: web.Request, listing: ListScheduled) -> web.Response:
    """Lists batches that have a time, newest first."""
    wallet, part = wallet_id(request), requested_page(listing, BATCH)
    status = None if listing.status is UNSET else BatchStatus(listing.status)
    found = await request.app[SERVICES].read(
        lambda connection: queries.load_batch_page(connection, wallet, part, status=status, scheduled=True)
    )
    return success_response(request, shaped_page([batch_payload(row) for row in found.rows], found, part))


@operation(response=shapes.ScheduledStats)
async def get_scheduled_stats(request: web.Request) -> web.Response:
    """Counts the batches that have a time."""
    wallet = wallet_id(request)
    found = await request.app[SERVICES].read(lambda connection: queries.load_scheduled_stats(connection, wallet))
    return success_response(
        request,
        {
            "total": sum(found.by_status.values()),
            "byStatus": found.by_status,
            "upcomingTotal": found.upcoming_cents,
            "nextScheduled": found.next_scheduled and format_rfc3339(found.next_scheduled),
        },
    )
