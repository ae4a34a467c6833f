"""Endpoints of batches: create, list, get, release, run; and of those that are scheduled."""

import asyncio
import enum
import uuid
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway import shapes
from gateway.decoding import BATCH_BYTES_MAX
from gateway.envelope import page as shaped_page
from gateway.handlers.bulk import BulkPayout, checked, ordered
from gateway.handlers.common import Time, actor_of, once, success, time_in, wallet_id
from gateway.handlers.payouts import REFUSES, Urgency
from gateway.operation import operation
from gateway.query import ShortListing, wanted
from gateway.state import SCENARIO, SERVICES
from shared import audit, broker
from shared.batches import reading
from shared.batches.create import NewBatch
from shared.batches.create import create as creating
from shared.batches.release import release as releasing
from shared.batches.release import unknown
from shared.batches.rows import batch_public
from shared.clock import rfc3339
from shared.errors import Invalid, Refusal
from shared.ids import BATCH, new_id, parse, show
from shared.models.audit import Action
from shared.models.batches import BatchStatus
from shared.models.payouts import Rail
from shared.payouts.accept import Order, look_up
from shared.payouts.rows import duplicate_warning, public

ITEMS_MAX: Final = 10_000
AHEAD_DAYS_MAX: Final = 366
WARNINGS_SHOWN: Final = 100


class CreateBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /batches`. Without `scheduledFor` it waits until it is released."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Weekly Payouts - 2026-01-31"])]
    payouts: Annotated[
        list[Any],
        msgspec.Meta(
            min_length=1,
            max_length=ITEMS_MAX,
            extra_json_schema={"items": {"$ref": "#/components/schemas/BulkPayout"}},
        ),
    ]
    urgency: Urgency = Urgency.STANDARD
    scheduledFor: Time | None = None


@operation(
    body=CreateBatch, answer=shapes.Batch, refuses=REFUSES[:1] + REFUSES[2:], once=True, body_bytes_max=BATCH_BYTES_MAX
)
async def create(request: web.Request, body: CreateBatch) -> web.Response:
    """Creates a batch of up to 10,000 payouts.

    All of them are accepted, or none is: `details.items` says which can't be, and why. No money is reserved before the
    batch is released: at `scheduledFor`, or by `release` or `run`.
    """
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), new_id()
    actor = actor_of(request)
    scheduled_for = moment(body.scheduledFor, services.clock.now()) if body.scheduledFor is not None else None
    orders = await asyncio.to_thread(
        lambda: [_order(request, content, body.urgency, batch_id) for content in body.payouts]
    )
    new = NewBatch(batch_id, wallet, body.name, Rail(body.urgency.value), scheduled_for, orders)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        known = look_up(connection, [order for order in orders if isinstance(order, Order)])
        batch, rows = creating(connection, new, known, now)
        shown = batch_public(batch)
        facts = {name: shown[name] for name in ("urgency", "payoutCount", "totalAmount", "scheduledFor", "status")}
        audit.record(connection, [audit.Entry(actor, Action.BATCH_CREATE, shown["id"], after=facts)], now)
        doubles = [(index, row.duplicate_of) for index, row in enumerate(rows) if row.duplicate_of is not None]
        if doubles:
            shown["warnings"] = [
                {**duplicate_warning(first), "index": index} for index, first in doubles[:WARNINGS_SHOWN]
            ]
        return shown

    async with services.large:
        return await once(request, work)


def _order(request: web.Request, content: Any, urgency: Urgency, batch_id: uuid.UUID) -> Order | Refusal:
    item = checked(content, BulkPayout)
    order = item if isinstance(item, Refusal) else ordered(request, item, urgency)
    return order if isinstance(order, Refusal) else order._replace(batch_id=batch_id)


def moment(text: str, now: datetime) -> datetime:
    """The time that a batch is scheduled for.

    Raises:
        Invalid: it is no RFC 3339 time with an offset, is past, or lies more than a year ahead.
    """
    found = time_in(text, "scheduledFor")
    if found <= now:
        raise Invalid("scheduledFor is past; leave it out and release the batch instead", field="scheduledFor")
    if (found - now).days >= AHEAD_DAYS_MAX:
        raise Invalid(f"scheduledFor may be at most {AHEAD_DAYS_MAX} days ahead", field="scheduledFor")
    return found


class ListBatches(ShortListing, kw_only=True):
    """Which batches."""

    status: BatchStatus | UnsetType = UNSET


@operation(query=ListBatches, answer=shapes.Listed[shapes.Batch])
async def page(request: web.Request, listing: ListBatches) -> web.Response:
    """Lists batches, newest first."""
    wallet, part = wallet_id(request), wanted(listing, BATCH)
    status = None if listing.status is UNSET else listing.status
    found = await request.app[SERVICES].read(lambda connection: reading.page(connection, wallet, part, status=status))
    return success(request, shaped_page([batch_public(row) for row in found.rows], found, part))


@operation(answer=shapes.BatchDetails, refuses=("BATCH_NOT_FOUND",))
async def get(request: web.Request) -> web.Response:
    """Shows a batch with its payouts, at most 1,000 of them."""
    wallet, batch_id = wallet_id(request), _id_in(request)
    found = await request.app[SERVICES].read(lambda connection: reading.get(connection, wallet, batch_id))
    if found is None:
        raise unknown(request.match_info["id"])
    return success(
        request,
        batch_public(found.batch)
        | {
            "payouts": [public(row) for row in found.payouts],
            "payoutsTruncated": found.batch.payout_count > len(found.payouts),
            "countsByStatus": found.by_status,
        },
    )


RELEASE_REFUSES: Final = ("BATCH_NOT_FOUND", "BATCH_NOT_RELEASABLE", "INSUFFICIENT_FUNDS")


@operation(answer=shapes.ReleasedBatch, refuses=RELEASE_REFUSES, once=True)
async def release(request: web.Request) -> web.Response:
    """Releases a batch: its money is reserved, all or nothing, and its payouts set out.

    Released before, it answers with its present state. Where the money does not reach, the batch is `failed`, nothing
    has moved, and it can be released again.
    """
    return await _release(request)


@operation(answer=shapes.ReleasedBatch, refuses=RELEASE_REFUSES, once=True)
async def run(request: web.Request) -> web.Response:
    """Processes a scheduled batch now, whatever its time; otherwise as release."""
    return await _release(request)


async def _release(request: web.Request) -> web.Response:
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), _id_in(request)
    actor, set_out = actor_of(request), list[uuid.UUID]()

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | Refusal:
        done = releasing(connection, wallet, batch_id, now, by=actor, grace=services.grace, scenario=request[SCENARIO])
        if isinstance(done, Refusal):
            return done
        set_out.extend(done.payout_ids)
        released_at = done.batch.released_at and rfc3339(done.batch.released_at)
        return {
            "id": show(BATCH, batch_id),
            "status": done.batch.status,
            "releasedAt": released_at,
            "processedAt": released_at,
        }

    async with services.large:
        answer = await once(request, work)
    services.doorbell.ring(broker.SUBMIT_PAYOUTS, set_out)
    return answer


def _id_in(request: web.Request) -> uuid.UUID:
    text = request.match_info["id"]
    batch_id = parse(BATCH, text)
    if batch_id is None:
        raise unknown(text)
    return batch_id


class ScheduledStatus(enum.StrEnum):
    """What scheduled payouts are filtered by."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class ListScheduled(ShortListing, kw_only=True):
    """Which scheduled batches."""

    status: ScheduledStatus | UnsetType = UNSET


@operation(query=ListScheduled, answer=shapes.Listed[shapes.Batch])
async def scheduled(request: web.Request, listing: ListScheduled) -> web.Response:
    """Lists batches that have a time, newest first."""
    wallet, part = wallet_id(request), wanted(listing, BATCH)
    status = None if listing.status is UNSET else BatchStatus(listing.status)
    found = await request.app[SERVICES].read(
        lambda connection: reading.page(connection, wallet, part, status=status, scheduled=True)
    )
    return success(request, shaped_page([batch_public(row) for row in found.rows], found, part))


@operation(answer=shapes.ScheduledStats)
async def stats(request: web.Request) -> web.Response:
    """Counts the batches that have a time."""
    wallet = wallet_id(request)
    found = await request.app[SERVICES].read(lambda connection: reading.stats(connection, wallet))
    return success(
        request,
        {
            "total": sum(found.by_status.values()),
            "byStatus": found.by_status,
            "upcomingTotal": found.upcoming_cents,
            "nextScheduled": found.next_scheduled and rfc3339(found.next_scheduled),
        },
    )
