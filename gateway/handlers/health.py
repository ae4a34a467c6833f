"""Health: whether this gateway can serve, for load balancers and people."""

import asyncio

import sqlalchemy as sa
from aiohttp import web

from gateway import shapes
from gateway.envelope import ApiError
from gateway.handlers.common import success
from gateway.operation import operation
from gateway.state import SERVICES
from shared.clock import rfc3339
from shared.reconciliation.gate import reconcile_only

VERSION = "1.0.0"
DATABASE_SECONDS_MAX = 3.0


@operation(answer=shapes.Health, query=None)
async def health(request: web.Request) -> web.Response:
    """Says whether the gateway can serve: 200 while the database answers, 503 otherwise.

    With `outgoing: reconcile-only` no payment leaves, and requests for payments are refused: our record is being
    compared with Paystream's.
    """
    services = request.app[SERVICES]
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            stopped = await services.read_key(reconcile_only)
    except (TimeoutError, sa.exc.SQLAlchemyError):
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "The database does not answer", headers={"Retry-After": "1"}
        ) from None
    now = rfc3339(services.clock.now())
    outgoing = {"outgoing": "reconcile-only"} if stopped else {}
    return success(request, {"status": "healthy", "version": VERSION, "timestamp": now, **outgoing})
