"""The endpoint that hears Paystream: verified before it is parsed, stored, answered; a worker applies it."""

import structlog
from aiohttp import web
from prometheus_client import Counter

from gateway.decoding import body_of
from gateway.envelope import ApiError
from gateway.handlers.common import success
from gateway.state import SERVICES
from shared import provider_events
from shared.paystream.signature import BadSignature, verify

logger = structlog.get_logger(__name__)

WEBHOOKS = Counter("ovnpay_provider_webhooks_total", "Webhooks of the provider by what became of them.", ["result"])


async def receive(request: web.Request) -> web.Response:
    """Stores a webhook. A repeat gets the same answer and does nothing."""
    services = request.app[SERVICES]
    settings = services.settings
    body = await body_of(request)
    secrets = (settings.paystream_webhook_secret, settings.paystream_webhook_secret_previous)
    try:
        verify(request.headers.get("X-Signature"), secrets, body, services.clock.now().timestamp())
    except BadSignature as error:
        WEBHOOKS.labels("forged").inc()
        logger.warning("provider_webhook.refused", why=str(error), address=request.remote)
        raise ApiError(401, "INVALID_SIGNATURE", str(error)) from None
    try:
        notice = provider_events.read(body)
    except provider_events.Malformed as error:
        WEBHOOKS.labels("malformed").inc()
        raise ApiError(400, "VALIDATION_ERROR", str(error)) from None
    await services.webhook_intake.submit(notice)
    WEBHOOKS.labels("stored").inc()
    return success(request, {"message": "Webhook processed"})
