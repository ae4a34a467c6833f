"""The URL table: every endpoint, its handler, and the scope that a key needs for it."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, NoReturn

from aiohttp import web

from gateway.handlers import bulk, drivers, funding, health, payouts, provider_webhooks

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One endpoint."""

    method: str
    path: str
    handler: Handler
    scope: str | None
    """The scope that the API key needs; None: no key at all."""


ROUTES: Final = (
    Route("GET", "/health", health.health, None),
    Route("GET", "/api/v1/drivers", drivers.page, "drivers:read"),
    Route("POST", "/api/v1/drivers", drivers.register, "drivers:write"),
    Route("POST", "/api/v1/drivers/bulk", bulk.register_drivers, "drivers:write"),
    Route("GET", "/api/v1/drivers/{id}", drivers.get, "drivers:read"),
    Route("PUT", "/api/v1/drivers/{id}", drivers.update, "drivers:write"),
    Route("DELETE", "/api/v1/drivers/{id}", drivers.delete, "drivers:write"),
    Route("GET", "/api/v1/drivers/{id}/payouts", drivers.payouts, "drivers:read"),
    Route("GET", "/api/v1/payouts", payouts.page, "payouts:read"),
    Route("POST", "/api/v1/payouts", payouts.create, "payouts:write"),
    Route("POST", "/api/v1/payouts/instant", payouts.create_instant, "payouts:write"),
    Route("GET", "/api/v1/payouts/instant/fee", payouts.instant_fee, "payouts:read"),
    Route("POST", "/api/v1/payouts/bulk", bulk.create_payouts, "payouts:write"),
    Route("POST", "/api/v1/payouts/bulk/cancel", bulk.cancel_payouts, "payouts:write"),
    Route("POST", "/api/v1/payouts/bulk/retry", bulk.retry_payouts, "payouts:write"),
    Route("GET", "/api/v1/payouts/{id}", payouts.get, "payouts:read"),
    Route("POST", "/api/v1/payouts/{id}/cancel", payouts.cancel, "payouts:write"),
    Route("POST", "/api/v1/payouts/{id}/retry", payouts.retry, "payouts:write"),
    Route("GET", "/api/v1/balance", funding.balance, "balance:read"),
    Route("POST", "/api/v1/funding/topup", funding.topup, "funding:write"),
    Route("GET", "/api/v1/funding/transactions", funding.transactions, "balance:read"),
    Route("POST", "/api/v1/webhooks/paystream", provider_webhooks.receive, None),
)

ELSEWHERE: Final = "/{elsewhere}"

SCOPES: Final = {(route.method, route.path): route.scope for route in ROUTES}


def add_to(application: web.Application) -> None:
    """Adds every route to the application, and one for all other paths: every answer passes the middlewares."""
    for route in ROUTES:
        application.router.add_route(route.method, route.path, route.handler, expect_handler=_continue)
    application.router.add_route("*", "/{elsewhere:.*}", _elsewhere, expect_handler=_continue)


async def _continue(request: web.Request) -> None:
    """`Expect: 100-continue` is met; any other expectation is ignored, as RFC 9110 allows."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _elsewhere(request: web.Request) -> NoReturn:
    """No endpoint has this path with this method: 405 where another method has, else 404."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != ELSEWHERE:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
