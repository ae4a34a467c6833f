"""Handlers of health checks, for load balancers, orchestrators and operators.

`/health/live` fails only when a restart helps, so it does not query the database: an outage must not restart all
gateways. `/health/ready` fails while the gateway should get no requests.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import sqlalchemy as sa
from aiohttp import web
from msgspec import Meta

from gateway.app_state import SERVICES
from gateway.handlers.common_shapes import Time
from gateway.handlers.requests import success_response
from gateway.http.envelope import ApiError
from gateway.openapi.operation import operation
from shared.holds.reconcile_only import is_reconcile_only
from shared.platform.clock import format_rfc3339
from shared.schema import migrations

VERSION = "1.0.0"
DATABASE_SECONDS_MAX = 3.0


class HealthStatus(TypedDict):
    """The gateway's health."""

    status: Literal["healthy"]
    version: Annotated[str, Meta(examples=["1.0.0"])]
    timestamp: Time
    outgoing: NotRequired[Literal["reconcile-only"]]


@operation(response=HealthStatus, query=None)
async def get_health(request: web.Request) -> web.Response:
    """Check whether the gateway can serve: 200 while the database responds, 503 otherwise.

    With `outgoing: reconcile-only`, no payment is sent and requests for payments are rejected: our records are being
    compared with Paystream's.
    """
    stopped = await _query_database(request, is_reconcile_only)
    return _healthy(request, **({"outgoing": "reconcile-only"} if stopped else {}))


@operation(response=HealthStatus, query=None)
async def get_liveness(request: web.Request) -> web.Response:
    """Check whether the process responds, regardless of its dependencies."""
    return _healthy(request)


@operation(response=HealthStatus, query=None)
async def get_readiness(request: web.Request) -> web.Response:
    """Check whether the gateway should get requests: 200 while the database responds and is migrated, 503 otherwise.

    A newer database is accepted: during a rollout, old gateways keep serving.
    """
    revision = await _query_database(request, migrations.recorded_revision)
    if not migrations.is_compatible_revision(revision):
        message = f"The database is at revision {revision}, not {migrations.HEAD_REVISION}: run `ovnpay migrate`"
        raise ApiError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": "1"})
    return _healthy(request)


async def _query_database(request: web.Request, query: Callable[[sa.Connection], Any]) -> Any:
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            return await request.app[SERVICES].read_key(query)
    except (TimeoutError, sa.exc.SQLAlchemyError):
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "The database does not respond", headers={"Retry-After": "1"}
        ) from None


def _healthy(request: web.Request, **fields: str) -> web.Response:
    now = format_rfc3339(request.app[SERVICES].clock.now())
    return success_response(request, {"status": "healthy", "version": VERSION, "timestamp": now, **fields})
