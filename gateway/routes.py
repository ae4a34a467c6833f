"""The URL table: every endpoint, its handler, and the scope that a key needs for it."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

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

SCOPES: Final = {(route.method, route.path): route.scope for route in ROUTES}


def add_to(application: web.Application) -> None:
    """Adds every route to the application."""
    for route in ROUTES:
        application.router.add_route(route.method, route.path, route.handler)
