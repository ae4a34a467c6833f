"""Health: whether this gateway lives, and whether it can serve, for load balancers, orchestrators and people.

`/health/live` fails when only a restart helps, so it asks nobody else: a database that is away must not have every
gateway restarted. `/health/ready` fails while this gateway should get no requests. `/health` is for people.
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
    """Whether the gateway can serve."""

    status: Literal["healthy"]
    version: Annotated[str, Meta(examples=["1.0.0"])]
    timestamp: Time
    outgoing: NotRequired[Literal["reconcile-only"]]


@operation(response=HealthStatus, query=None)
async def get_health(request: web.Request) -> web.Response:
    """Says whether the gateway can serve: 200 while the database answers, 503 otherwise.

    With `outgoing: reconcile-only` no payment leaves, and requests for payments are refused: our record is being
    compared with Paystream's.
    """
    stopped = await _asked(request, is_reconcile_only)
    return _healthy(request, **({"outgoing": "reconcile-only"} if stopped else {}))


@operation(response=HealthStatus, query=None)
async def get_liveness(request: web.Request) -> web.Response:
    """Says that the gateway lives: 200 as long as it answers at all, whatever it needs may be away."""
    return _healthy(request)


@operation(response=HealthStatus, query=None)
async def get_readiness(request: web.Request) -> web.Response:
    """Says whether requests should come here: 200 while the database answers and is migrated, 503 otherwise.

    A database that is already further than this gateway is good: while a release is rolled out, old gateways serve on.
    """
    revision = await _asked(request, migrations.recorded_revision)
    if not migrations.is_compatible_revision(revision):
        message = f"The database is at revision {revision}, not {migrations.HEAD_REVISION}: run `ovnpay migrate`"
        raise ApiError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": "1"})
    return _healthy(request)


async def _asked(request: web.Request, question: Callable[[sa.Connection], Any]) -> Any:
    """The database's answer, if it comes soon; on the connection that is kept apart for keys and signs of life."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            return await request.app[SERVICES].read_key(question)
    except (TimeoutError, sa.exc.SQLAlchemyError):
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "The database does not answer", headers={"Retry-After": "1"}
        ) from None


def _healthy(request: web.Request, **more: str) -> web.Response:
    now = format_rfc3339(request.app[SERVICES].clock.now())
    return success_response(request, {"status": "healthy", "version": VERSION, "timestamp": now, **more})
