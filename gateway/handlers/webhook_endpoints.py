"""Handlers of webhook endpoints: create, list, get, update, delete, rotate the secret."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web

from gateway.app_state import SERVICES
from gateway.handlers.requests import request_actor, run_idempotently, success_response, wallet_id
from gateway.handlers.webhook_shapes import (
    CreateWebhook,
    DeletedWebhook,
    RotateSecret,
    UpdateWebhook,
    Webhook,
    Webhooks,
    WebhookWithSecret,
)
from gateway.openapi.operation import operation
from shared.events import endpoints
from shared.events.addresses import check_url
from shared.events.endpoints import mask_url_query
from shared.events.queries import load_endpoint, load_endpoints
from shared.events.rows import EndpointRow, endpoint_payload
from shared.identity import audit
from shared.platform.clock import format_rfc3339
from shared.platform.ids import WEBHOOK, parse_id, public_id
from shared.schema.audit import Action

WEBHOOK_ERROR_CODES: Final = ("WEBHOOK_NOT_FOUND",)


def webhook_id_from_path(request: web.Request) -> uuid.UUID | None:
    """The webhook id in the path, or None if the text is no webhook id."""
    return parse_id(WEBHOOK, request.match_info["id"])


def audited_endpoint_fields(row: EndpointRow) -> dict[str, Any]:
    return {"url": mask_url_query(row.url), "events": row.events, "status": row.status}


def _without_secret(data: Any) -> Any:
    return {**data, "secret": None}


@operation(body=CreateWebhook, response=WebhookWithSecret, error_codes=("TOO_MANY_WEBHOOKS",), idempotent=True)
async def create_webhook(request: web.Request, body: CreateWebhook) -> web.Response:
    """Subscribe a URL to events.

    Each event is sent as a POST with a JSON body, signed with `secret`, which is shown once. A 2xx response within 15
    seconds is a success; a failed delivery is retried: 10 attempts over 3.1 days. An event can arrive more than once,
    with the same `id`, and in any order: `sequence` orders the events of one payout. A wallet can have 20 webhooks.
    """
    services, wallet, actor = request.app[SERVICES], wallet_id(request), request_actor(request)
    settings = services.settings

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        check_url(body.url, allow_loopback=settings.is_loopback_allowed)
        issued = endpoints.create_endpoint(connection, wallet, body.url, body.events, settings.key_pepper, now)
        entry = audit.Entry(
            actor, Action.WEBHOOK_CREATE, public_id(WEBHOOK, issued.row.id), after=audited_endpoint_fields(issued.row)
        )
        audit.record_entries(connection, [entry], now)
        return {**endpoint_payload(issued.row, now), "secret": issued.secret}

    return await run_idempotently(request, work, _without_secret)


@operation(response=Webhooks)
async def list_webhooks(request: web.Request) -> web.Response:
    """List the wallet's webhooks, newest first."""
    services, wallet = request.app[SERVICES], wallet_id(request)
    rows = await services.read(lambda connection: load_endpoints(connection, wallet))
    now = services.clock.now()
    return success_response(request, {"items": [endpoint_payload(row, now) for row in rows], "total": len(rows)})


@operation(response=Webhook, error_codes=WEBHOOK_ERROR_CODES)
async def get_webhook(request: web.Request) -> web.Response:
    """Return a webhook."""
    services, wallet, wanted = request.app[SERVICES], wallet_id(request), webhook_id_from_path(request)
    row = await services.read(lambda connection: load_endpoint(connection, wallet, wanted))
    return success_response(request, endpoint_payload(row, services.clock.now()))


@operation(body=UpdateWebhook, response=Webhook, error_codes=WEBHOOK_ERROR_CODES)
async def update_webhook(request: web.Request, body: UpdateWebhook) -> web.Response:
    """Update a webhook.

    Events of a `paused` webhook are kept for 30 days and delivered when it is `active` again. No events are kept for a
    `disabled` webhook.
    """
    services, wallet, wanted, actor = (
        request.app[SERVICES],
        wallet_id(request),
        webhook_id_from_path(request),
        request_actor(request),
    )
    now = services.clock.now()

    def work(connection: sa.Connection) -> EndpointRow:
        if body.url is not None:
            load_endpoint(connection, wallet, wanted)  # a missing webhook is reported before an invalid URL
            check_url(body.url, allow_loopback=services.settings.is_loopback_allowed)
        before, after = endpoints.update_endpoint(
            connection, wallet, wanted, now, url=body.url, events=body.events, status=body.status
        )
        changes = audit.changed_fields(audited_endpoint_fields(before), audited_endpoint_fields(after))
        audit.record_entries(
            connection, [audit.Entry(actor, Action.WEBHOOK_UPDATE, public_id(WEBHOOK, after.id), *changes)], now
        )
        return after

    return success_response(request, endpoint_payload(await services.write(work), now))


@operation(response=DeletedWebhook, error_codes=WEBHOOK_ERROR_CODES)
async def delete_webhook(request: web.Request) -> web.Response:
    """Delete a webhook and its pending deliveries."""
    services, wallet, wanted, actor = (
        request.app[SERVICES],
        wallet_id(request),
        webhook_id_from_path(request),
        request_actor(request),
    )
    now = services.clock.now()

    def work(connection: sa.Connection) -> EndpointRow:
        row = endpoints.delete_endpoint(connection, wallet, wanted, now)
        entry = audit.Entry(
            actor, Action.WEBHOOK_DELETE, public_id(WEBHOOK, row.id), before=audited_endpoint_fields(row)
        )
        audit.record_entries(connection, [entry], now)
        return row

    row = await services.write(work)
    return success_response(request, {"id": public_id(WEBHOOK, row.id), "deletedAt": format_rfc3339(now)})


@operation(
    body=RotateSecret,
    body_optional=True,
    response=WebhookWithSecret,
    error_codes=WEBHOOK_ERROR_CODES,
    idempotent=True,
)
async def rotate_webhook_secret(request: web.Request, body: RotateSecret) -> web.Response:
    """Replace a webhook's secret; the new one is shown once.

    For `gracePeriodHours`, 24 by default, deliveries are signed with both: `X-Signature` has a second `v1=`, and
    `webhook-signature` a second `v1,`.
    """
    services, wallet, wanted, actor = (
        request.app[SERVICES],
        wallet_id(request),
        webhook_id_from_path(request),
        request_actor(request),
    )
    pepper, grace = services.settings.key_pepper, timedelta(hours=body.gracePeriodHours)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        issued = endpoints.rotate_endpoint_secret(connection, wallet, wanted, pepper, now, grace=grace)
        after = {"gracePeriodHours": body.gracePeriodHours}
        entry = audit.Entry(actor, Action.WEBHOOK_ROTATE, public_id(WEBHOOK, issued.row.id), after=after)
        audit.record_entries(connection, [entry], now)
        return {**endpoint_payload(issued.row, now), "secret": issued.secret}

    return await run_idempotently(request, work, _without_secret)
