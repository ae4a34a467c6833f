"""What surrounds each request: its id and metrics, the conversion of errors, authentication."""

import asyncio
import time
import uuid
from datetime import datetime
from functools import cache

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from uuid_utils import uuid4

from gateway.app_state import CREDENTIAL, RATE_LIMIT, REQUEST_ID, SCENARIO, SERVICES, SESSION_TOKEN, SIGNED_IN_USER
from gateway.http.envelope import INTERNAL_ERROR_MESSAGE, ApiError, domain_error_body, error_body, json_response
from gateway.intake.group_commit import Overloaded, ShuttingDown
from gateway.routes import ROUTES_BY_ENDPOINT, UNKNOWN_PATH
from shared.identity import sessions
from shared.identity.api_keys import Credential, hash_token, is_well_formed_session_token
from shared.identity.sessions import SessionUser
from shared.platform import tracing
from shared.platform.errors import DomainError
from shared.schema.organizations import Mode, Role
from shared.schema.scenarios import Scenario

logger = structlog.get_logger(__name__)

REQUESTS = Counter("ovnpay_http_requests_total", "HTTP requests by route and status.", ["method", "route", "status"])
SECONDS = Histogram(
    "ovnpay_http_request_duration_seconds",
    "Duration of HTTP requests by route.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_ID_HEADER = "X-Request-Id"
SCENARIO_HEADER = "X-Sandbox-Scenario"
SLOW_RESPONSE_SECONDS = 2.0
RECONCILE_ONLY_MESSAGE = (
    "Nothing was changed: payments are stopped while our records are compared with Paystream's; repeat the request "
    "later with the same Idempotency-Key"
)
RECONCILE_ONLY_RETRY_SECONDS = 30
HTTP_VERSIONS = (HttpVersion10, HttpVersion11)
KNOWN_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@web.middleware
async def measure_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assign the request's id, add the headers of each response, and count and time the request."""
    services, request_id = request.app[SERVICES], _request_id(request)
    request[REQUEST_ID] = request_id
    started = time.monotonic()
    if tracing.is_tracing():
        response = await _trace(request, handler)
    else:
        response = await handler(request)
    response.headers[REQUEST_ID_HEADER] = request_id
    state = request.get(RATE_LIMIT) or services.rate_limits.full_state()
    response.headers.update(state.headers())
    response.headers.merge(services.headers)  # keeps a handler's own values
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = _route(request) or "unknown"
    _requests(method, route, response.status).inc()
    if request.get(SCENARIO) is not Scenario.SLOW_RESPONSE:  # slow on request
        _seconds(method, route).observe(time.monotonic() - started)
    return response


# Cached, because `labels` validates and takes a lock each time. There is an entry for each series.
@cache
def _requests(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, str(status))


@cache
def _seconds(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


async def _trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle a request within a span, which continues the client's trace if the request names one."""
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = _route(request) or "unknown"
    attributes = {"http.request.method": method, "http.route": route, "ovnpay.request_id": request[REQUEST_ID]}
    parents = [request.headers.get(tracing.TRACEPARENT_HEADER)]
    with tracing.span(f"{method} {route}", tracing.SpanKind.SERVER, parents, **attributes) as span:
        response = await handler(request)
        if span is not None:
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                tracing.mark_failed(span, str(response.status))
        return response


@web.middleware
async def convert_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn each exception into an error response; no client input causes a 500."""
    request_id, clock = request[REQUEST_ID], request.app[SERVICES].clock
    try:
        if request.version not in HTTP_VERSIONS:
            raise ApiError(400, "BAD_REQUEST", "Use HTTP/1.1", headers={"Connection": "close"})
        return await handler(request)
    except DomainError as error:
        wait = error.retry_after_seconds
        headers = {"Retry-After": str(wait)} if wait is not None else None
        return json_response(domain_error_body(error, request_id, clock.now()), error.status, headers)
    except ApiError as error:
        return _error_response(error, request_id, clock.now())  # a variable would keep the request alive
    except (Overloaded, ShuttingDown, OperationalError, InterfaceError, PoolTimeoutError) as unavailable:
        logger.warning("request.unavailable", request_id=request_id, route=_route(request), why=repr(unavailable))
        failed = ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "The request could not be completed and its outcome is unknown; "
            "repeat it with the same Idempotency-Key to execute it only once",
            headers={"Retry-After": "1"},
        )
    except web.HTTPException as error:
        failed = _http_error(request, error)
    except Exception:
        logger.exception("request.failed", request_id=request_id, method=request.method, route=_route(request))
        failed = ApiError(500, "INTERNAL_ERROR", INTERNAL_ERROR_MESSAGE)
    return _error_response(failed, request_id, clock.now())


def _error_response(error: ApiError, request_id: str, now: datetime) -> web.Response:
    return json_response(
        error_body(error.code, error.message, error.details, request_id, now), error.status, error.headers
    )


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Identify the caller by the API key or session token alone; unknown paths and public routes skip this."""
    path = _route(request)
    route = ROUTES_BY_ENDPOINT.get((request.method, path)) if path else None
    if route is None or route.access is None:
        return await handler(request)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if kind.lower() == "bearer" else ""
    if isinstance(route.access, str):
        request[CREDENTIAL] = credential = await _credential(request, token, route.access)
        if route.moves_money and await request.app[SERVICES].reconcile_only.is_on():
            raise ApiError(
                503,
                "RECONCILE_ONLY",
                RECONCILE_ONLY_MESSAGE,
                headers={"Retry-After": str(RECONCILE_ONLY_RETRY_SECONDS)},
            )
        scenario = request.headers.get(SCENARIO_HEADER)
        request[SCENARIO] = Scenario.SUCCESS if scenario is None else await _scenario(scenario, credential)
    else:
        request[SIGNED_IN_USER], request[SESSION_TOKEN] = await _signed_in_user(request, token, route.access), token
    return await handler(request)


async def _credential(request: web.Request, token: str, scope: str) -> Credential:
    services = request.app[SERVICES]
    credential = await services.credential_cache.find(token, services.read_key)
    if credential is None:
        raise _unauthorized("Send a valid API key in the header `Authorization: Bearer ovnp_…`")
    await _count(request, f"key:{credential.key_id.hex}", credential.rate_limit_per_minute)
    if scope not in credential.scopes:
        raise ApiError(403, "FORBIDDEN", f"This API key lacks the scope `{scope}`", scope=scope)
    return credential


async def _signed_in_user(request: web.Request, token: str, roles: frozenset[Role]) -> SessionUser:
    services = request.app[SERVICES]
    user = None
    if is_well_formed_session_token(token):
        hashes, now = [hash_token(token, pepper) for pepper in services.settings.peppers], services.clock.now()
        user = await services.read(lambda connection: sessions.find_session_user_by_hashes(connection, hashes, now))
    if user is None:
        raise _unauthorized(
            "Sign in with `POST /api/v1/auth/login` and send its token: `Authorization: Bearer ovnp_sess_…`"
        )
    await _count(request, f"user:{user.id.hex}", None)
    if user.role not in roles:
        needed = " or ".join(sorted(roles))
        raise ApiError(403, "FORBIDDEN", f"This requires the role {needed}; yours is {user.role}", role=user.role)
    return user


async def _count(request: web.Request, caller: str, per_minute: int | None) -> None:
    request[RATE_LIMIT] = state = await request.app[SERVICES].rate_limits.count_request(caller, per_minute)
    if state.retry_after_seconds is not None:
        raise ApiError(
            429,
            "RATE_LIMITED",
            f"More than {state.limit} requests per minute; retry after {state.retry_after_seconds} s",
            headers={"Retry-After": str(state.retry_after_seconds)},
        )


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": 'Bearer realm="OVN Pay"'})


async def _scenario(text: str, credential: Credential) -> Scenario:
    """The sandbox scenario of a request; two of them are simulated here."""
    if credential.mode != Mode.SANDBOX:
        message = f"`{SCENARIO_HEADER}` can't be used with a production key; leave it out"
        raise ApiError(400, "VALIDATION_ERROR", message, field=SCENARIO_HEADER)
    try:
        scenario = Scenario(text)
    except ValueError:
        message = f"`{SCENARIO_HEADER}` must be one of {', '.join(Scenario)}"
        raise ApiError(400, "VALIDATION_ERROR", message, field=SCENARIO_HEADER) from None
    if scenario is Scenario.RATE_LIMITED:
        raise ApiError(429, "RATE_LIMITED", "Too many requests; try again later", headers={"Retry-After": "1"})
    if scenario is Scenario.SLOW_RESPONSE:
        await asyncio.sleep(SLOW_RESPONSE_SECONDS)
    return scenario


def _request_id(request: web.Request) -> str:
    """The client's X-Request-Id if it is a UUID, else a new UUID."""
    given = request.headers.get(REQUEST_ID_HEADER)
    if given is not None:
        try:
            return str(uuid.UUID(given))
        except ValueError:
            pass
    return str(uuid4())


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None and resource.canonical != UNKNOWN_PATH else None


def _http_error(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPNotFound):
        return ApiError(404, "NOT_FOUND", "This path does not exist; see /docs")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ApiError(405, "METHOD_NOT_ALLOWED", f"This path supports only {allowed}", headers={"Allow": allowed})
    if error.status < 500:
        return ApiError(error.status, "BAD_REQUEST", error.reason)
    return ApiError(500, "INTERNAL_ERROR", "An internal error")


MIDDLEWARES = (measure_request, convert_errors, authenticate)
