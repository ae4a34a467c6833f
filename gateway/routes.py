"""The URL table: each endpoint, its handler, who may call it, and whether it moves money."""

from typing import Final, NamedTuple, NoReturn

from aiohttp import web

from gateway.handlers import (
    analytics,
    api_keys,
    audit,
    batch_changes,
    batch_results,
    batches,
    bulk,
    documentation,
    drivers,
    events,
    funding,
    health,
    payout_timeline,
    payouts,
    provider_webhooks,
    sandbox,
    scheduled_payouts,
    sessions,
    webhook_deliveries,
    webhook_endpoints,
)
from gateway.openapi.operation import Handler
from shared.schema.organizations import Role

API_PREFIX: Final = "/api/v1"
ANY_ROLE: Final = frozenset(Role)
KEY_CREATOR_ROLES: Final = frozenset({Role.OWNER, Role.ADMIN, Role.DEVELOPER})
ADMIN_ROLES: Final = frozenset({Role.OWNER, Role.ADMIN})


class Route(NamedTuple):
    method: str
    path: str
    handler: Handler
    access: str | frozenset[Role] | None
    """The scope required of an API key, or the roles permitted to a signed-in user; None: no credential."""
    moves_money: bool = False
    """Whether a request commits the wallet to moving money; it is rejected while the system is reconcile-only."""


ROUTES: Final = (
    Route("GET", "/", documentation.get_root, None),
    Route("GET", "/health", health.get_health, None),
    Route("GET", "/health/live", health.get_liveness, None),
    Route("GET", "/health/ready", health.get_readiness, None),
    Route("GET", "/openapi.json", documentation.get_openapi_document, None),
    Route("GET", "/docs", documentation.get_docs_page, None),
    Route("GET", "/docs/{file}", documentation.get_docs_asset, None),
    Route("GET", "/api/v1/drivers", drivers.list_drivers, "drivers:read"),
    Route("POST", "/api/v1/drivers", drivers.register_driver, "drivers:write"),
    Route("POST", "/api/v1/drivers/bulk", bulk.bulk_register_drivers, "drivers:write"),
    Route("GET", "/api/v1/drivers/{id}", drivers.get_driver, "drivers:read"),
    Route("PUT", "/api/v1/drivers/{id}", drivers.update_driver, "drivers:write"),
    Route("DELETE", "/api/v1/drivers/{id}", drivers.delete_driver, "drivers:write"),
    Route("GET", "/api/v1/drivers/{id}/payouts", drivers.list_driver_payouts, "drivers:read"),
    Route("GET", "/api/v1/payouts", payouts.list_payouts, "payouts:read"),
    Route("POST", "/api/v1/payouts", payouts.create_payout, "payouts:write", moves_money=True),
    Route("POST", "/api/v1/payouts/instant", payouts.create_instant_payout, "payouts:write", moves_money=True),
    Route("GET", "/api/v1/payouts/instant/fee", payouts.quote_instant_fee, "payouts:read"),
    Route("POST", "/api/v1/payouts/bulk", bulk.bulk_create_payouts, "payouts:write", moves_money=True),
    Route("POST", "/api/v1/payouts/bulk/cancel", bulk.bulk_cancel_payouts, "payouts:write"),
    Route("POST", "/api/v1/payouts/bulk/retry", bulk.bulk_retry_payouts, "payouts:write", moves_money=True),
    Route("GET", "/api/v1/payouts/{id}", payouts.get_payout, "payouts:read"),
    Route("GET", "/api/v1/payouts/{id}/timeline", payout_timeline.get_payout_timeline, "payouts:read"),
    Route("POST", "/api/v1/payouts/{id}/cancel", payouts.cancel_payout, "payouts:write"),
    Route("POST", "/api/v1/payouts/{id}/retry", payouts.retry_payout, "payouts:write", moves_money=True),
    Route("GET", "/api/v1/batches", batches.list_batches, "batches:read"),
    Route("POST", "/api/v1/batches", batches.create_batch, "batches:write", moves_money=True),
    Route("POST", "/api/v1/batches/quote", batches.quote_batch, "batches:write"),
    Route("GET", "/api/v1/batches/{id}", batches.get_batch, "batches:read"),
    Route("GET", "/api/v1/batches/{id}/payouts", batch_results.list_batch_payouts, "batches:read"),
    Route("POST", "/api/v1/batches/{id}/release", batch_changes.release_batch, "batches:write", moves_money=True),
    Route("POST", "/api/v1/batches/{id}/run", batch_changes.run_batch, "batches:write", moves_money=True),
    Route("POST", "/api/v1/batches/{id}/cancel", batch_changes.cancel_batch, "batches:write"),
    Route("POST", "/api/v1/batches/{id}/reschedule", batch_changes.reschedule_batch, "batches:write"),
    Route(
        "POST",
        "/api/v1/batches/{id}/retry-failed",
        batch_changes.retry_failed_batch_payouts,
        "batches:write",
        moves_money=True,
    ),
    Route("GET", "/api/v1/scheduled-payouts", scheduled_payouts.list_scheduled_batches, "batches:read"),
    Route("GET", "/api/v1/scheduled-payouts/stats", scheduled_payouts.get_scheduled_stats, "batches:read"),
    Route("GET", "/api/v1/balance", funding.get_balance, "balance:read"),
    Route("POST", "/api/v1/funding/topup", funding.create_topup, "funding:write", moves_money=True),
    Route("GET", "/api/v1/funding/transactions", funding.list_transactions, "balance:read"),
    Route("GET", "/api/v1/funding/projection", funding.get_projection, "balance:read"),
    Route("GET", "/api/v1/analytics/summary", analytics.get_analytics_summary, "analytics:read"),
    Route("GET", "/api/v1/analytics/timeseries", analytics.get_analytics_timeseries, "analytics:read"),
    Route("GET", "/api/v1/analytics/drivers", analytics.get_analytics_by_driver, "analytics:read"),
    Route("GET", "/api/v1/analytics/rails", analytics.get_analytics_by_rail, "analytics:read"),
    Route("GET", "/api/v1/analytics/failures", analytics.get_analytics_failures, "analytics:read"),
    Route("POST", "/api/v1/webhooks/paystream", provider_webhooks.receive_provider_webhook, None),
    Route("GET", "/api/v1/webhooks/logs", provider_webhooks.list_provider_webhooks, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks", webhook_endpoints.list_webhooks, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks", webhook_endpoints.create_webhook, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks/{id}", webhook_endpoints.get_webhook, "webhooks:manage"),
    Route("PUT", "/api/v1/webhooks/{id}", webhook_endpoints.update_webhook, "webhooks:manage"),
    Route("DELETE", "/api/v1/webhooks/{id}", webhook_endpoints.delete_webhook, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/test", webhook_deliveries.send_webhook_test, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/rotate-secret", webhook_endpoints.rotate_webhook_secret, "webhooks:manage"),
    Route("POST", "/api/v1/webhooks/{id}/redeliver", webhook_deliveries.redeliver_deliveries_since, "webhooks:manage"),
    Route("GET", "/api/v1/webhooks/{id}/deliveries", webhook_deliveries.list_deliveries, "webhooks:manage"),
    Route(
        "POST",
        "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver",
        webhook_deliveries.redeliver_delivery,
        "webhooks:manage",
    ),
    Route("GET", "/api/v1/events", events.list_events, "webhooks:manage"),
    Route("POST", "/api/v1/auth/login", sessions.login, None),
    Route("POST", "/api/v1/auth/logout", sessions.logout, ANY_ROLE),
    Route("GET", "/api/v1/auth/me", sessions.get_current_user, ANY_ROLE),
    Route("GET", "/api/v1/developer/keys", api_keys.list_own_keys, ANY_ROLE),
    Route("POST", "/api/v1/developer/keys", api_keys.create_own_key, KEY_CREATOR_ROLES),
    Route("GET", "/api/v1/developer/keys/{id}", api_keys.get_own_key, ANY_ROLE),
    Route("DELETE", "/api/v1/developer/keys/{id}", api_keys.revoke_own_key, KEY_CREATOR_ROLES),
    Route("POST", "/api/v1/developer/keys/{id}/regenerate", api_keys.regenerate_own_key, KEY_CREATOR_ROLES),
    Route("GET", "/api/v1/developer/scopes", api_keys.list_scopes, ANY_ROLE),
    Route("GET", "/api/v1/admin/api-keys", api_keys.list_organization_keys, ADMIN_ROLES),
    Route("GET", "/api/v1/admin/api-keys/pending", api_keys.list_pending_keys, ADMIN_ROLES),
    Route("GET", "/api/v1/admin/api-keys/{id}", api_keys.get_organization_key, ADMIN_ROLES),
    Route("POST", "/api/v1/admin/api-keys/{id}/approve", api_keys.approve_organization_key, ADMIN_ROLES),
    Route("POST", "/api/v1/admin/api-keys/{id}/reject", api_keys.reject_organization_key, ADMIN_ROLES),
    Route("DELETE", "/api/v1/admin/api-keys/{id}", api_keys.revoke_organization_key, ADMIN_ROLES),
    Route("GET", "/api/v1/admin/audit", audit.list_audit_entries, ADMIN_ROLES),
    Route("POST", "/api/v1/sandbox/reset", sandbox.reset_sandbox_state, "payouts:write"),
    Route("GET", "/api/v1/sandbox/state", sandbox.get_sandbox_state, "payouts:read"),
    Route("POST", "/api/v1/sandbox/seed", sandbox.seed_sandbox_data, "payouts:write", moves_money=True),
)

ROUTES_BY_ENDPOINT: Final = {(route.method, route.path): route for route in ROUTES}

UNKNOWN_PATH: Final = "/{elsewhere}"


def add_routes(application: web.Application) -> None:
    """Add each route, and a route for all other paths, to run the middlewares for unknown paths too."""
    for route in ROUTES:
        application.router.add_route(route.method, route.path, route.handler, expect_handler=_continue)
    application.router.add_route("*", "/{elsewhere:.*}", _reject_unknown_path, expect_handler=_continue)


async def _continue(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, and ignore any other expectation, as RFC 9110 permits."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _reject_unknown_path(request: web.Request) -> NoReturn:
    """Raise 405 if the path supports another method, else 404."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical == request.path:  # a literal path wins over a path with an id
            allowed = (await resource.resolve(request))[1]
            break
        if resource.canonical != UNKNOWN_PATH:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
