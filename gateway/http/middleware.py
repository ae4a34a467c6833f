"""What happens around every request: an id, the envelope for whatever goes wrong, figures, and who calls."""

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
from gateway.http.envelope import ApiError, error_body, json_response, refusal_body
from gateway.intake.group_commit import Overloaded, ShuttingDown
from gateway.routes import ACCESS, PROMISES, UNKNOWN_PATH
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
    "How long HTTP requests took, by route.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_ID_HEADER = "X-Request-Id"
SCENARIO_HEADER = "X-Sandbox-Scenario"
SLOW_RESPONSE_SECONDS = 2.0
RECONCILE_ONLY_MESSAGE = (
    "Nothing was done: payments are stopped while our record is compared with Paystream's; repeat the request later, "
    "with the same Idempotency-Key"
)
RECONCILE_ONLY_RETRY_SECONDS = 30
HTTP_VERSIONS = (HttpVersion10, HttpVersion11)
KNOWN_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@web.middleware
async def measure_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id and counts it."""
    services, request_id = request.app[SERVICES], _request_id(request)
    request[REQUEST_ID] = request_id
    started = time.monotonic()
    if tracing.is_tracing():
        answer = await _traced(request, handler)
    else:
        answer = await handler(request)
    answer.headers[REQUEST_ID_HEADER] = request_id
    taken = request.get(RATE_LIMIT) or services.rate_limits.untouched()
    answer.headers.update(taken.headers())
    answer.headers.merge(services.headers)  # a handler's own stay
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = _route(request) or "unknown"
    _requests(method, route, answer.status).inc()
    if request.get(SCENARIO) is not Scenario.SLOW_RESPONSE:  # slow because somebody asked for it
        _seconds(method, route).observe(time.monotonic() - started)
    return answer


# Kept, for a label is checked and looked up under a lock each time; there are as many as there are series.
@cache
def _requests(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, str(status))


@cache
def _seconds(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


async def _traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers within a span, which goes on with the client's trace if he sent one."""
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = _route(request) or "unknown"
    facts = {"http.request.method": method, "http.route": route, "ovnpay.request_id": request[REQUEST_ID]}
    parents = [request.headers.get(tracing.TRACEPARENT_HEADER)]
    with tracing.span(f"{method} {route}", tracing.SpanKind.SERVER, parents, **facts) as span:
        answer = await handler(request)
        if span is not None:
            span.set_attribute("http.response.status_code", answer.status)
            if answer.status >= 500:
                tracing.mark_failed(span, str(answer.status))
        return answer


@web.middleware
async def convert_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever goes wrong into an error answer; a client can send nothing that becomes a 500."""
    request_id, clock = request[REQUEST_ID], request.app[SERVICES].clock
    try:
        if request.version not in HTTP_VERSIONS:
            raise ApiError(400, "BAD_REQUEST", "This server speaks HTTP/1.1", headers={"Connection": "close"})
        return await handler(request)
    except DomainError as refusal:
        wait = refusal.retry_after_seconds
        headers = {"Retry-After": str(wait)} if wait is not None else None
        return json_response(refusal_body(refusal, request_id, clock.now()), refusal.status, headers)
    except ApiError as error:
        return _refused(error, request_id, clock.now())  # not kept: it holds this frame, and the frame the body
    except (Overloaded, ShuttingDown, OperationalError, InterfaceError, PoolTimeoutError) as unavailable:
        logger.warning("request.unavailable", request_id=request_id, route=_route(request), why=repr(unavailable))
        failed = ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "The request could not be finished and its outcome may not be known; "
            "repeat it with the same Idempotency-Key to be sure that it happens once",
            headers={"Retry-After": "1"},
        )
    except web.HTTPException as error:
        failed = _http_error(request, error)
    except Exception:
        logger.exception("request.failed", request_id=request_id, method=request.method, route=_route(request))
        failed = ApiError(500, "INTERNAL_ERROR", "An internal error; its cause is in our logs under the request id")
    return _refused(failed, request_id, clock.now())


def _refused(error: ApiError, request_id: str, now: datetime) -> web.Response:
    return json_response(
        error_body(error.code, error.message, error.details, request_id, now), error.status, error.headers
    )


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Finds the caller by the key or session token alone; unknown paths are answered before any is read."""
    route = _route(request)
    access = ACCESS.get((request.method, route)) if route else None
    if access is None:
        return await handler(request)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if kind.lower() == "bearer" else ""
    if isinstance(access, str):
        request[CREDENTIAL] = credential = await _credential(request, token, access)
        if (request.method, route) in PROMISES and await request.app[SERVICES].stopped():
            raise ApiError(
                503,
                "RECONCILE_ONLY",
                RECONCILE_ONLY_MESSAGE,
                headers={"Retry-After": str(RECONCILE_ONLY_RETRY_SECONDS)},
            )
        asked = request.headers.get(SCENARIO_HEADER)
        request[SCENARIO] = Scenario.SUCCESS if asked is None else await _scenario(asked, credential)
    else:
        request[SIGNED_IN_USER], request[SESSION_TOKEN] = await _account(request, token, access), token
    return await handler(request)


async def _credential(request: web.Request, token: str, scope: str) -> Credential:
    """What the API key opens, if it has the scope."""
    services = request.app[SERVICES]
    credential = await services.credential_cache.find(token, services.read_key)
    if credential is None:
        raise _unauthorized("Send a valid API key in the header Authorization: Bearer ovnp_…")
    await _count(request, f"key:{credential.key_id.hex}", credential.rate_limit_per_minute)
    if scope not in credential.scopes:
        raise ApiError(403, "FORBIDDEN", f"This API key lacks the scope {scope}", scope=scope)
    return credential


async def _account(request: web.Request, token: str, roles: frozenset[Role]) -> SessionUser:
    """Who is signed in, if he has one of the roles."""
    services = request.app[SERVICES]
    account = None
    if is_well_formed_session_token(token):
        hashes, now = [hash_token(token, pepper) for pepper in services.settings.peppers], services.clock.now()
        account = await services.read(lambda connection: sessions.find_session_user_by_hashes(connection, hashes, now))
    if account is None:
        raise _unauthorized(
            "Sign in with POST /api/v1/auth/login and send its token: Authorization: Bearer ovnp_sess_…"
        )
    await _count(request, f"user:{account.id.hex}", None)
    if account.role not in roles:
        needed = " or ".join(sorted(roles))
        raise ApiError(403, "FORBIDDEN", f"This needs the role {needed}; yours is {account.role}", role=account.role)
    return account


async def _count(request: web.Request, caller: str, per_minute: int | None) -> None:
    """Counts the request against its caller's limit."""
    request[RATE_LIMIT] = taken = await request.app[SERVICES].rate_limits.take(caller, per_minute)
    if taken.retry_after_seconds is not None:
        raise ApiError(
            429,
            "RATE_LIMITED",
            f"More than {taken.limit} requests a minute; wait {taken.retry_after_seconds} s",
            headers={"Retry-After": str(taken.retry_after_seconds)},
        )


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": 'Bearer realm="OVN Pay"'})


async def _scenario(text: str, credential: Credential) -> Scenario:
    """What the sandbox is to play; two of the scenarios are played here."""
    if credential.mode != Mode.SANDBOX:
        message = f"{SCENARIO_HEADER} is for sandbox keys; this is a production key"
        raise ApiError(400, "VALIDATION_ERROR", message, field=SCENARIO_HEADER)
    try:
        scenario = Scenario(text)
    except ValueError:
        message = f"{SCENARIO_HEADER} must be one of {', '.join(Scenario)}"
        raise ApiError(400, "VALIDATION_ERROR", message, field=SCENARIO_HEADER) from None
    if scenario is Scenario.RATE_LIMITED:
        raise ApiError(429, "RATE_LIMITED", "Too many requests; try again later", headers={"Retry-After": "1"})
    if scenario is Scenario.SLOW_RESPONSE:
        await asyncio.sleep(SLOW_RESPONSE_SECONDS)
    return scenario


def _request_id(request: web.Request) -> str:
    """The client's X-Request-Id where it is a UUID, a new one otherwise."""
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
        return ApiError(404, "NOT_FOUND", "There is no such path in this API; /openapi.json has them all")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ApiError(405, "METHOD_NOT_ALLOWED", f"This path takes {allowed}", headers={"Allow": allowed})
    if error.status < 500:
        return ApiError(error.status, "BAD_REQUEST", error.reason)
    return ApiError(500, "INTERNAL_ERROR", "An internal error")


MIDDLEWARES = (measure_request, convert_errors, authenticate)
