"""Handlers of Paystream's webhooks: receive one, and list those about the wallet's payouts."""

from typing import Annotated, Any, Literal, TypedDict

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType
from prometheus_client import Counter

from gateway.app_state import SERVICES
from gateway.handlers.common_shapes import CappedListPage, LogId, Message, PayoutId, Time
from gateway.handlers.requests import success_response, wallet_id
from gateway.http.decoding import parse_json, read_body
from gateway.http.envelope import ApiError, list_page_payload
from gateway.http.query_parameters import DayOrTime, PageQuery, parse_time_range, requested_page
from gateway.openapi.operation import operation
from shared import inbox
from shared.platform.ids import LOG
from shared.provider.signature import InvalidSignature, verify_signature

WEBHOOKS = Counter("ovnpay_provider_webhooks_total", "Provider webhooks by result of their receipt.", ["result"])
WEBHOOKS_BY_RESULT = {result: WEBHOOKS.labels(result) for result in (*inbox.StoreResult, "malformed", "refused")}


class WebhookLog(TypedDict):
    """A webhook from Paystream about one of the wallet's payouts."""

    id: LogId
    event: Annotated[str, Meta(examples=["payout.completed"])]
    payload: dict[str, Any]
    receivedAt: Time
    processedAt: Time | None
    status: Literal["pending", "success", "error"]
    verified: Annotated[bool, Meta(description="Whether its signature is valid; others are rejected.")]
    outcome: Annotated[str, Meta(description="What it changed, in a few words.")] | None
    payoutId: PayoutId | None


@operation(response=Message, query=None, raw_body=True, error_codes=("INVALID_SIGNATURE",))
async def receive_provider_webhook(request: web.Request) -> web.Response:
    """Receive a webhook from Paystream.

    The header `X-Signature` is verified before the body is parsed: `t={unix seconds},v1={hex HMAC-SHA256 of "{t}.{raw
    body}"}`, at most 300 seconds old; it can contain several `v1` during a change of the secret. A repeat gets the same
    response and changes nothing.
    """
    services = request.app[SERVICES]
    settings = services.settings
    body = await read_body(request)
    secrets = (settings.paystream_webhook_secret, settings.paystream_webhook_secret_previous)
    try:
        verify_signature(request.headers.getall("X-Signature", []), secrets, body, services.clock.now().timestamp())
    except InvalidSignature as error:
        WEBHOOKS_BY_RESULT["refused"].inc()
        services.rejected_webhooks.record(error, request.remote)
        raise ApiError(401, "INVALID_SIGNATURE", str(error)) from None
    try:
        notification = inbox.parse_notification(body, parse_json(body))
    except inbox.MalformedNotification as error:
        WEBHOOKS_BY_RESULT["malformed"].inc()
        raise ApiError(400, "VALIDATION_ERROR", str(error)) from None
    except ApiError:
        WEBHOOKS_BY_RESULT["malformed"].inc()
        raise
    result = await services.webhook_intake.submit(notification)
    WEBHOOKS_BY_RESULT[result].inc()
    return success_response(request, {"message": "Webhook processed"})


class ListLogs(PageQuery, kw_only=True):
    event: Annotated[str, msgspec.Meta(max_length=100, examples=["payout.completed"])] | UnsetType = UNSET
    status: inbox.WebhookLogStatus | UnsetType = UNSET
    since: DayOrTime | UnsetType = msgspec.field(name="from", default=UNSET)
    until: DayOrTime | UnsetType = msgspec.field(name="to", default=UNSET)


@operation(query=ListLogs, response=CappedListPage[WebhookLog])
async def list_provider_webhooks(request: web.Request, listing: ListLogs) -> web.Response:
    """List Paystream's webhooks about the wallet's payouts, newest first.

    `from` is inclusive, `to` exclusive. `status` is `pending` until a worker has processed the webhook, and `error` if
    it contradicts our records; `outcome` says what it changed. Webhooks with an invalid signature are not
    listed. `total` is counted up to 10,000; `totalIsMinimum` is true if there are more.
    """
    wallet, page = wallet_id(request), requested_page(listing, LOG)
    since, until = parse_time_range(listing.since, listing.until)
    filters = inbox.WebhookLogFilter(
        event=None if listing.event is UNSET else listing.event,
        status=None if listing.status is UNSET else listing.status,
        since=since,
        until=until,
    )
    found = await request.app[SERVICES].read(
        lambda connection: inbox.load_webhook_log(connection, wallet, page, filters)
    )
    items = [inbox.webhook_log_payload(row) for row in found.rows]
    capped_total = {"totalIsMinimum": found.total >= inbox.LOG_COUNTED_MAX}
    return success_response(request, list_page_payload(items, found, page) | capped_total)
