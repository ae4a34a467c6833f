"""Handlers of deliveries: list, test event, redelivery of an event or of all since a time."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SERVICES
from gateway.handlers.requests import (
    parse_time,
    request_actor,
    run_idempotently_and_enqueue,
    success_response,
    wallet_id,
)
from gateway.handlers.webhook_endpoints import WEBHOOK_ERROR_CODES, webhook_id_from_path
from gateway.handlers.webhook_shapes import DeliveryPage, ListDeliveries, Redeliver, RedeliveryCount, WebhookTest
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import requested_page
from gateway.openapi.operation import operation
from shared.events import deliveries
from shared.events.queries import DELIVERIES_COUNTED_MAX, load_deliveries, load_endpoint
from shared.events.rows import DeliveryRow, delivery_payload
from shared.identity import audit
from shared.platform import task_queue
from shared.platform.clock import format_rfc3339
from shared.platform.ids import EVENT, WEBHOOK, parse_id, public_id
from shared.platform.pagination import Page
from shared.schema.audit import Action


@operation(query=ListDeliveries, response=DeliveryPage, error_codes=WEBHOOK_ERROR_CODES)
async def list_deliveries(request: web.Request, listing: ListDeliveries) -> web.Response:
    """List a webhook's deliveries of the last 30 days, newest events first.

    Only the status of responses is kept. `total` is counted up to 10,000; `totalIsMinimum` is true if there are more.
    """
    wallet, endpoint, page = wallet_id(request), webhook_id_from_path(request), requested_page(listing, EVENT)
    status = None if listing.status is UNSET else listing.status

    def read(connection: sa.Connection) -> Page[DeliveryRow]:
        return load_deliveries(connection, load_endpoint(connection, wallet, endpoint), page, status)

    found = await request.app[SERVICES].read(read)
    items = [delivery_payload(row) for row in found.rows]
    capped_total = {"totalIsMinimum": found.total >= DELIVERIES_COUNTED_MAX}
    return success_response(request, list_page_payload(items, found, page) | capped_total)


@operation(response=WebhookTest, error_codes=(*WEBHOOK_ERROR_CODES, "WEBHOOK_NOT_ACTIVE"), idempotent=True)
async def send_webhook_test(request: web.Request) -> web.Response:
    """Send an event of type `webhook.test` to a webhook; its deliveries show the result."""
    wallet, wanted_id, actor = wallet_id(request), webhook_id_from_path(request), request_actor(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        endpoint = load_endpoint(connection, wallet, wanted_id)
        event_id = public_id(EVENT, deliveries.send_test_event(connection, wallet, endpoint, now))
        webhook_id = public_id(WEBHOOK, endpoint.id)
        audit.record_entries(
            connection, [audit.Entry(actor, Action.WEBHOOK_TEST, webhook_id, after={"event": event_id})], now
        )
        return {"id": event_id, "webhookId": webhook_id}

    return await run_idempotently_and_enqueue(
        request, work, task_queue.DELIVER_CUSTOMER_EVENTS, [wanted_id] if wanted_id else []
    )


@operation(response=WebhookTest, error_codes=(*WEBHOOK_ERROR_CODES, "DELIVERY_NOT_FOUND"), idempotent=True)
async def redeliver_delivery(request: web.Request) -> web.Response:
    """Deliver an event again, with the same `id` and all attempts, regardless of earlier results."""
    wallet, wanted_id, actor = wallet_id(request), webhook_id_from_path(request), request_actor(request)
    event_id = parse_id(EVENT, request.match_info["delivery"])

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        endpoint = load_endpoint(connection, wallet, wanted_id)
        deliveries.redeliver_event(connection, wallet, endpoint, event_id, now)
        assert event_id is not None, "an unknown delivery is rejected"
        payload = {"id": public_id(EVENT, event_id), "webhookId": public_id(WEBHOOK, endpoint.id)}
        entry = audit.Entry(actor, Action.WEBHOOK_REDELIVER, payload["webhookId"], after={"event": payload["id"]})
        audit.record_entries(connection, [entry], now)
        return payload

    return await run_idempotently_and_enqueue(
        request, work, task_queue.DELIVER_CUSTOMER_EVENTS, [wanted_id] if wanted_id else []
    )


@operation(body=Redeliver, response=RedeliveryCount, error_codes=WEBHOOK_ERROR_CODES, idempotent=True)
async def redeliver_deliveries_since(request: web.Request, body: Redeliver) -> web.Response:
    """Deliver the webhook's events since a time again, oldest first.

    A request covers up to 10,000 events; if there are more, `until` is the next request's `since`.
    """
    wallet, wanted_id, actor = wallet_id(request), webhook_id_from_path(request), request_actor(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        endpoint = load_endpoint(connection, wallet, wanted_id)
        since = parse_time(body.since, "since")
        done = deliveries.redeliver_events_since(connection, wallet, endpoint, since, now, failed_only=body.failedOnly)
        after = {"since": format_rfc3339(since), "failedOnly": body.failedOnly, "count": done.event_count}
        entry = audit.Entry(actor, Action.WEBHOOK_REDELIVER, public_id(WEBHOOK, endpoint.id), after=after)
        audit.record_entries(connection, [entry], now)
        return {"count": done.event_count, "until": done.until and format_rfc3339(done.until)}

    return await run_idempotently_and_enqueue(
        request, work, task_queue.DELIVER_CUSTOMER_EVENTS, [wanted_id] if wanted_id else []
    )
