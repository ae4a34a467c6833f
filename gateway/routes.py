"""The URL table: every endpoint, its handler, and who may call it."""

from typing import Final, NamedTuple, NoReturn

from aiohttp import web

from gateway.handlers import (
    analytics,
    audit,
    auth,
    batch_changes,
    batches,
    bulk,
    documents,
    drivers,
    events,
    funding,
    health,
    keys,
    payouts,
    provider_webhooks,
    sandbox,
    timeline,
    webhook_deliveries,
    webhook_endpoints,
)
from gateway.openapi.operation import Handler
from shared.schema.organizations import Role

API: Final = "/api/v1"
ANYBODY: Final = frozenset(Role)
MAKERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.DEVELOPER})
ADMINS: Final = frozenset({Role.OWNER, Role.ADMIN})


class Route(NamedTuple):
    """One endpoint."""

    method: str
    path: str
    handler: Handler
    access: str | frozenset[Role] | None
    """The scope that the API key needs; or the roles one of which the signed-in user needs; None: no key at all."""


ROUTES: Final = (
    Route("GET", "/health", health.health, None),
    Route("GET", "/health/live", health.live, None),
    Route("GET", "/health/ready", health.ready, None),
    Route("GET", "/openapi.json", documents.openapi, None),
    Route("GET", "/docs", documents.page, None),
    Route("GET", "/docs/{file}", documents.asset, None),
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
    Route("GET", "/api/v1/payouts/{id}/timeline", timeline.get, "payouts:read"),
    Route("POST", "/api/v1/payouts/{id}/cancel", payouts.cancel, "payouts:write"),
    Route("POST", "/api/v1/payouts/{id}/retry", payouts.retry, "payouts:write"),
    Route("GET", "/api/v1/batches", batches.page, "batches:read"),
    Route("POST", "/api/v1/batches", batches.create, "batches:write"),
    Route("POST", "/api/v1/batches/quote", batches.quote, "batches:write"),
    Route("GET", "/api/v1/batches/{id}", batches.get, "batches:read"),
    Route("GET", "/api/v1/batches/{id}/payouts", batches.payouts, "batches:read"),
    Route("POST", "/api/v1/batches/{id}/release", batch_changes.release, "batches:write"),
    Route("POST", "/api/v1/batches/{id}/run", batch_changes.run, "batches:write"),
    Route("POST", "/api/v1/batches/{id}/cancel", batch_changes.cancel, "batches:write"),
    Route("POST", "/api/v1/batches/{id}/reschedule", batch_changes.reschedule, "batches:write"),
    Route("POST", "/api/v1/batches/{id}/retry-failed", batch_changes.retry_failed, "batches:write"),
    Route("GET", "/api/v1/scheduled-payouts", batches.scheduled, "batches:read"),
    Route("GET", "/api/v1/scheduled-payouts/stats", batches.stats, "batches:read"),
    Route("GET", "/api/v1/balance", funding.balance, "balance:read"),
    Route("POST", "/api/v1/funding/topup", funding.topup, "funding:write"),
    Route("GET", "/api/v1/funding/transactions", funding.transactions, "balance:read"),
    Route("GET", "/api/v1/funding/projection", funding.projection, "balance:read"),
    Route("GET", "/api/v1/analytics/summary", analytics.summary, "analytics:read"),
    Route("GET", "/api/v1/analytics/timeseries", analytics.timeseries, "analytics:read"),
    Route("GET", "/api/v1/analytics/drivers", analytics.drivers, "analytics:read"),
    Route("GET", "/api/v1/analytics/rails", analytics.rails, "analytics:read"),
    Route("GET", "/api/v1/analytics/failures", analytics.failures, "analytics:read"),
    Route("POST", "/api/v1/webhooks/paystream", provider_webhooks.receive, None),
    Route("GET", "/api/v1/webhooks/logs", provider_webhooks.logs, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks", webhook_endpoints.listed, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks", webhook_endpoints.create, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks/{id}", webhook_endpoints.get, "webhooks:manage"),
    Route("PUT", "/api/v1/webhooks/{id}", webhook_endpoints.update, "webhooks:manage"),
    Route("DELETE", "/api/v1/webhooks/{id}", webhook_endpoints.delete, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/test", webhook_deliveries.test, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/rotate-secret", webhook_endpoints.rotate_secret, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/redeliver", webhook_deliveries.redeliver_since, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks/{id}/deliveries", webhook_deliveries.page, "webhooks:manage"),
    Route(
        "POST",
        "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver",
        webhook_deliveries.redeliver,
        "webhooks:manage",
    ),
    Route("GET", "/api/v1/events", events.page, "webhooks:manage"),
    Route("POST", "/api/v1/auth/login", auth.login, None),
    Route("POST", "/api/v1/auth/logout", auth.logout, ANYBODY),
    Route("GET", "/api/v1/auth/me", auth.me, ANYBODY),
    Route("GET", "/api/v1/developer/keys", keys.mine, ANYBODY),
    Route("POST", "/api/v1/developer/keys", keys.create, MAKERS),
    Route("GET", "/api/v1/developer/keys/{id}", keys.get_mine, ANYBODY),
    Route("DELETE", "/api/v1/developer/keys/{id}", keys.revoke_mine, MAKERS),
    Route("POST", "/api/v1/developer/keys/{id}/regenerate", keys.regenerate, MAKERS),
    Route("GET", "/api/v1/developer/scopes", keys.scopes, ANYBODY),
    Route("GET", "/api/v1/admin/api-keys", keys.page, ADMINS),
    Route("GET", "/api/v1/admin/api-keys/pending", keys.pending, ADMINS),
    Route("GET", "/api/v1/admin/api-keys/{id}", keys.get, ADMINS),
    Route("POST", "/api/v1/admin/api-keys/{id}/approve", keys.approve, ADMINS),
    Route("POST", "/api/v1/admin/api-keys/{id}/reject", keys.reject, ADMINS),
    Route("DELETE", "/api/v1/admin/api-keys/{id}", keys.revoke, ADMINS),
    Route("GET", "/api/v1/admin/audit", audit.page, ADMINS),
    Route("POST", "/api/v1/sandbox/reset", sandbox.reset, "payouts:write"),
    Route("GET", "/api/v1/sandbox/state", sandbox.state, "payouts:read"),
    Route("POST", "/api/v1/sandbox/seed", sandbox.seed, "payouts:write"),
)

ELSEWHERE: Final = "/{elsewhere}"

PROMISES: Final = frozenset(
    (route.method, route.path)
    for route in ROUTES
    if route.method == "POST"
    and route.access in ("payouts:write", "batches:write", "funding:write")
    and not route.path.endswith(("/cancel", "/quote", "/reset", "/reschedule"))
)
"""What promises that money will move; it is refused while payments are stopped."""

ACCESS: Final = {(route.method, route.path): route.access for route in ROUTES}


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
        if resource.canonical == request.path:  # a path of its own, which an id can't be
            allowed = (await resource.resolve(request))[1]
            break
        if resource.canonical != ELSEWHERE:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
