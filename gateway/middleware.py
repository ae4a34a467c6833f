"""What happens around every request: an id, the envelope for whatever goes wrong, figures, and the key."""

import time
import uuid

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.envelope import ApiError, error_body, refusal_body, response
from gateway.group_commit import Closing, Overloaded
from gateway.routes import ELSEWHERE, SCOPES
from gateway.state import CREDENTIAL, REQUEST_ID, SERVICES
from shared.errors import Refusal

logger = structlog.get_logger(__name__)

REQUESTS = Counter("ovnpay_http_requests_total", "HTTP requests by route and status.", ["method", "route", "status"])
SECONDS = Histogram(
    "ovnpay_http_request_duration_seconds",
    "How long HTTP requests took, by route.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_ID_HEADER = "X-Request-Id"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@web.middleware
async def figures(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id and counts it."""
    request[REQUEST_ID] = _request_id(request)
    started = time.monotonic()
    answer = await handler(request)
    answer.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]
    method = request.method if request.method in METHODS else "other"
    route = _route(request) or "unknown"
    REQUESTS.labels(method, route, str(answer.status)).inc()
    SECONDS.labels(method, route).observe(time.monotonic() - started)
    return answer


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever goes wrong into an error answer; a client can send nothing that becomes a 500."""
    request_id, clock = request[REQUEST_ID], request.app[SERVICES].clock
    try:
        return await handler(request)
    except Refusal as refusal:
        wait = refusal.retry_after_seconds
        headers = {"Retry-After": str(wait)} if wait is not None else None
        return response(refusal_body(refusal, request_id, clock.now()), refusal.status, headers)
    except ApiError as error:
        failed = error
    except (Overloaded, Closing, OperationalError, InterfaceError, PoolTimeoutError) as unavailable:
        logger.warning("request.unavailable", request_id=request_id, path=request.path, why=repr(unavailable))
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
        logger.exception("request.failed", request_id=request_id, method=request.method, path=request.path)
        failed = ApiError(500, "INTERNAL_ERROR", "An internal error; its cause is in our logs under the request id")
    body = error_body(failed.code, failed.message, failed.details, request_id, clock.now())
    return response(body, failed.status, failed.headers)


@web.middleware
async def authentication(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Finds the wallet by the key alone and checks the scope; unknown paths are answered before any key is read."""
    route = _route(request)
    scope = SCOPES[request.method, route] if route and (request.method, route) in SCOPES else None
    if scope is None:
        return await handler(request)
    services = request.app[SERVICES]
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    credential = await services.keyring.find(key.strip(), services.read_key) if kind.lower() == "bearer" else None
    if credential is None:
        raise ApiError(
            401,
            "UNAUTHORIZED",
            "Send a valid API key in the header Authorization: Bearer ovnp_…",
            headers={"WWW-Authenticate": 'Bearer realm="OVN Pay"'},
        )
    if scope not in credential.scopes:
        raise ApiError(403, "FORBIDDEN", f"This API key lacks the scope {scope}", scope=scope)
    request[CREDENTIAL] = credential
    return await handler(request)


def _request_id(request: web.Request) -> str:
    """The client's X-Request-Id where it is a UUID, a new one otherwise."""
    try:
        return str(uuid.UUID(request.headers.get(REQUEST_ID_HEADER, "")))
    except ValueError:
        return str(uuid.uuid4())


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None and resource.canonical != ELSEWHERE else None


def _http_error(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPNotFound):
        return ApiError(404, "NOT_FOUND", f"There is no {request.path[:200]} in this API")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ApiError(405, "METHOD_NOT_ALLOWED", f"{request.path[:200]} takes {allowed}", headers={"Allow": allowed})
    if error.status < 500:
        return ApiError(error.status, "BAD_REQUEST", error.reason)
    return ApiError(500, "INTERNAL_ERROR", "An internal error")


MIDDLEWARES = (figures, envelope, authentication)
