"""Handler of a batch's payouts: a list, or the batch's results as CSV."""

import uuid
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SERVICES, Services
from gateway.handlers.batch_shapes import BATCH_PAYOUTS_MAX, ListBatchPayouts
from gateway.handlers.batches import batch_id_from_path
from gateway.handlers.common_shapes import ListPage
from gateway.handlers.payout_shapes import Payout
from gateway.handlers.requests import success_response, wallet_id
from gateway.http.csv_tables import csv_body, csv_file_response
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import Format, requested_page
from gateway.openapi.operation import operation
from shared.batches import queries
from shared.payouts.rows import PayoutRow, payout_payload
from shared.platform.ids import BATCH, PAYOUT, public_id
from shared.platform.pagination import PageRequest
from shared.schema.batch_rows import batch_not_found
from shared.schema.payouts import PayoutStatus

RESULT_COLUMNS: Final = (
    "payoutId", "driverId", "driverName", "loadId", "description", "amount", "fee", "netAmount", "status", "rail",
    "requestedAt", "completedAt", "failureCode", "failureMessage",
)  # fmt: skip
"""The CSV columns of a batch's results; amounts in cents."""


@operation(query=ListBatchPayouts, response=ListPage[Payout], error_codes=("BATCH_NOT_FOUND",), csv=True)
async def list_batch_payouts(request: web.Request, listing: ListBatchPayouts) -> web.Response:
    """List a batch's payouts in the order of the request that created it.

    `format=csv` returns the batch's complete results as a file.
    """
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    page = requested_page(listing, PAYOUT)
    status = None if listing.status is UNSET else listing.status
    if listing.format is Format.CSV:
        return await _export_results(services, wallet, batch_id, status)
    found = await services.read(
        lambda connection: queries.load_batch_payouts(connection, wallet, batch_id, page, status=status)
    )
    if found is None:
        raise batch_not_found(batch_id)
    return success_response(request, list_page_payload([payout_payload(row) for row in found.rows], found, page))


async def _export_results(
    services: Services, wallet: uuid.UUID, batch_id: uuid.UUID, status: PayoutStatus | None
) -> web.Response:
    def read(connection: sa.Connection) -> bytes | None:
        found = queries.load_batch_payouts(connection, wallet, batch_id, PageRequest(BATCH_PAYOUTS_MAX), status=status)
        return None if found is None else csv_body(RESULT_COLUMNS, map(_result_cells, found.rows))

    async with services.export:
        body = await services.read(read)
    if body is None:
        raise batch_not_found(batch_id)
    return csv_file_response(f"{public_id(BATCH, batch_id)}.csv", body)


def _result_cells(row: PayoutRow) -> list[Any]:
    payload = payout_payload(row)
    failure = payload.get("failure", {})
    cells = {
        **payload,
        "payoutId": payload["id"],
        "failureCode": failure.get("code"),
        "failureMessage": failure.get("message"),
    }
    return [cells[name] for name in RESULT_COLUMNS]
