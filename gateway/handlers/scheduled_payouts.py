"""Handlers of scheduled payouts: the batches with a release time, and their statistics."""

from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SERVICES
from gateway.handlers.batch_shapes import Batch, ListScheduled, ScheduledStats
from gateway.handlers.common_shapes import ListPage
from gateway.handlers.requests import success_response, wallet_id
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import requested_page
from gateway.openapi.operation import operation
from shared.batches import queries
from shared.platform.clock import format_rfc3339
from shared.platform.ids import BATCH
from shared.schema.batch_rows import batch_payload
from shared.schema.payouts import BatchStatus


@operation(query=ListScheduled, response=ListPage[Batch])
async def list_scheduled_batches(request: web.Request, listing: ListScheduled) -> web.Response:
    """List batches with a release time, newest first."""
    wallet, page = wallet_id(request), requested_page(listing, BATCH)
    status = None if listing.status is UNSET else BatchStatus(listing.status)
    found = await request.app[SERVICES].read(
        lambda connection: queries.load_batch_page(connection, wallet, page, status=status, scheduled=True)
    )
    return success_response(request, list_page_payload([batch_payload(row) for row in found.rows], found, page))


@operation(response=ScheduledStats)
async def get_scheduled_stats(request: web.Request) -> web.Response:
    """Count the batches with a release time."""
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
