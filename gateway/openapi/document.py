"""The OpenAPI document: made from the URL table and what its handlers declare, so it can't say anything else."""

import http
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from gateway.handlers.bulk import BulkPayout
from gateway.handlers.drivers import RegisterDriver
from gateway.openapi.operation import Operation, operation_of
from gateway.routes import ADMIN_ROLES, API_PREFIX, PROMISES, ROUTES, Route
from shared.schema.scenarios import Scenario

SCHEMAS: Final = "#/components/schemas/"

STATUS_BY_ERROR_CODE: Final = {
    "BAD_REQUEST": 400,
    "INVALID_JSON": 400,
    "VALIDATION_ERROR": 400,
    "INSUFFICIENT_FUNDS": 400,
    "UNAUTHORIZED": 401,
    "INVALID_CREDENTIALS": 401,
    "INVALID_SIGNATURE": 401,
    "FORBIDDEN": 403,
    "OWN_REQUEST": 403,
    "SANDBOX_ONLY": 403,
    "SCOPE_NOT_YOURS": 403,
    "NOT_FOUND": 404,
    "BATCH_NOT_FOUND": 404,
    "DELIVERY_NOT_FOUND": 404,
    "DRIVER_NOT_FOUND": 404,
    "KEY_NOT_FOUND": 404,
    "PAYOUT_NOT_FOUND": 404,
    "WEBHOOK_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "BATCH_NOT_CANCELABLE": 409,
    "BATCH_NOT_RELEASABLE": 409,
    "BATCH_NOT_RESCHEDULABLE": 409,
    "DRIVER_EXISTS": 409,
    "DRIVER_HAS_OPEN_PAYOUTS": 409,
    "DUPLICATE_PAYOUT": 409,
    "IDEMPOTENCY_KEY_IN_USE": 409,
    "KEY_NOT_APPROVED": 409,
    "KEY_NOT_PENDING": 409,
    "KEY_REVOKED": 409,
    "PAYOUT_HELD": 409,
    "PAYOUT_NOT_CANCELABLE": 409,
    "PAYOUT_NOT_RETRYABLE": 409,
    "TOO_MANY_KEYS": 409,
    "TOO_MANY_WEBHOOKS": 409,
    "WEBHOOK_NOT_ACTIVE": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "DRIVER_INACTIVE": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "KYC_PENDING": 422,
    "KYC_REJECTED": 422,
    "RATE_LIMITED": 429,
    "TOO_MANY_ATTEMPTS": 429,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
    "RECONCILE_ONLY": 503,
}
"""Every code of an error, with its status."""

RESPONSE_HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "The request's id.", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "Requests a minute.", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Requests that may come at once now.", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {
        "description": "When all of the burst is there again, in Unix seconds.",
        "schema": {"type": "integer"},
    },
}
"""Of every answer."""

TAGS: Final = {
    "health": "Health",
    "drivers": "Drivers",
    "payouts": "Payouts",
    "batches": "Batches",
    "scheduled-payouts": "Scheduled payouts",
    "balance": "Balance",
    "funding": "Funding",
    "analytics": "Analytics",
    "webhooks": "Webhooks",
    "events": "Events",
    "auth": "Sessions",
    "developer": "API keys (developer)",
    "admin": "For admins",
    "sandbox": "Sandbox",
}

API_DESCRIPTION: Final = """
Pays freight drivers: payouts leave a prefunded wallet, each once. All amounts are integer US cents; all times are RFC
3339 in UTC. Every answer has `success`, then `data` or `error` (`code`, `message` and, where there is more to say,
`details`), and `meta` with the request's id.

POSTs that say so take an `Idempotency-Key`: for 48 hours a repeat gets the first answer again, with
`Idempotent-Replayed: true`; `GET /payouts?idempotencyKey=` says what came of one. Lists are newest first, and are
walked by `page` or, without limit, by `cursor`.
"""


class Meta(msgspec.Struct):
    """What stands beside every answer."""

    requestId: str
    """Of the header `X-Request-Id` where that is a UUID, else a new one."""
    timestamp: str


class Error(msgspec.Struct):
    """Why a request was not carried out; nothing was changed."""

    code: str
    message: str
    details: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


@cache
def build_document() -> dict[str, Any]:
    """The whole document."""
    routes = [route for route in ROUTES if route.path.startswith(API_PREFIX) or route.path.startswith("/health")]
    operations = [operation_of(route.handler) for route in routes]
    shapes: list[Any] = [Meta, Error, BulkPayout, RegisterDriver]
    shapes += [one.answer for one in operations]
    shapes += [one.body for one in operations if one.body is not None]
    found, components = msgspec.json.schema_components(shapes, ref_template=SCHEMAS + "{name}")
    references = dict(zip(map(id, shapes), found, strict=True))
    schemas: dict[str, Any] = {name: _portable(schema) for name, schema in components.items()}
    paths: dict[str, Any] = {}
    for route, one in zip(routes, operations, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, one, references, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "OVN Pay", "version": "1.0.0", "description": API_DESCRIPTION.strip()},
        "servers": [{"url": "/", "description": "This gateway"}],
        "tags": [{"name": name} for name in TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: ovnp_sbox_… or ovnp_prod_…"},
                "session": {"type": "http", "scheme": "bearer", "description": "A token of POST /api/v1/auth/login"},
            },
        },
    }


def _operation(route: Route, one: Operation, references: dict[int, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """One endpoint."""
    made: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}.{route.handler.__name__}",
        "tags": [TAGS[route.path.removeprefix(API_PREFIX).strip("/").partition("/")[0]]],
        "summary": one.summary,
        "description": " ".join(filter(None, (one.description, _access(route)))),
        "security": _security(route),
        "parameters": list(_parameters(route, one)),
        "responses": _responses(route, one, references, schemas),
    }
    if one.body is not None:
        schema = references[id(one.body)]
        made["requestBody"] = {
            "required": not one.body_optional,
            "content": {"application/json": {"schema": schema, "example": example_value(schema, schemas)}},
        }
    elif one.takes_body:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    return made


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.access is None:
        return []
    return [{"apiKey" if isinstance(route.access, str) else "session": []}]


def _access(route: Route) -> str:
    if isinstance(route.access, str):
        return f"Needs the scope `{route.access}`."
    if route.access == ADMIN_ROLES:
        return "Needs the role owner or admin."
    return ""


def _parameters(route: Route, one: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    if one.query is not None:
        [_], components = msgspec.json.schema_components([one.query], ref_template="{name}")
        own = components[one.query.__name__]
        for name, schema in own.get("properties", {}).items():
            resolved = _portable(_resolved(schema, components))
            if name == "cursor":
                resolved["pattern"] = _cursor_pattern(one.answer)
            yield {
                "name": name,
                "in": "query",
                "required": name in own.get("required", ()),
                "description": resolved.pop("description", ""),
                "schema": resolved,
            }
    if one.once:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A repeat with the same key within 48 hours gets the first answer and changes nothing.",
            "schema": {"type": "string", "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        }
    if isinstance(route.access, str):
        yield {
            "name": "X-Sandbox-Scenario",
            "in": "header",
            "description": "What the sandbox is to play; with sandbox keys only.",
            "schema": {"type": "string", "enum": [scenario.value for scenario in Scenario]},
        }
    yield {
        "name": "X-Request-Id",
        "in": "header",
        "description": "A UUID by which the request can be found again in the logs; anything else is replaced by one.",
        "schema": {"type": "string"},
    }


def _cursor_pattern(answer: Any) -> str:
    """What the cursors of a list look like: the ids of its items."""
    [_], components = msgspec.json.schema_components([answer], ref_template="{name}")
    [listed] = [schema for schema in components.values() if "nextCursor" in schema.get("properties", {})]
    item = components[listed["properties"]["items"]["items"]["$ref"]]
    pattern: str = item["properties"]["id"]["pattern"]
    return pattern


def _responses(route: Route, one: Operation, references: dict[int, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answer = references[id(one.answer)]
    beside = {"success": {"const": True}, "meta": {"$ref": f"{SCHEMAS}Meta"}}
    if one.flat:
        schema: dict[str, Any] = {
            "allOf": [answer, {"type": "object", "required": ["success", "meta"], "properties": beside}]
        }
    else:
        schema = {
            "type": "object",
            "required": ["success", "data", "meta"],
            "properties": {"success": beside["success"], "data": answer, "meta": beside["meta"]},
        }
    headers = dict(RESPONSE_HEADERS)
    if one.once:
        headers["Idempotent-Replayed"] = {
            "description": "Where the answer was given before.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example_value(schema, schemas)}}
    if one.csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    made: dict[str, Any] = {"200": {"description": "Done.", "headers": headers, "content": content}}
    for status, codes in sorted(_refusals(route, one).items()):
        made[str(status)] = _refusal(status, codes)
    return made


def _refusals(route: Route, one: Operation) -> dict[int, list[str]]:
    """The codes that an endpoint can refuse with, by status."""
    codes = ["VALIDATION_ERROR", "BAD_REQUEST", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR", *one.refuses]
    if route.access is not None:
        codes += ["UNAUTHORIZED", "FORBIDDEN", "RATE_LIMITED"]
    if route.method != "GET":
        codes += ["REQUEST_TIMEOUT", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]
    if one.body is not None:
        codes.append("INVALID_JSON")
    if one.once:
        codes += ["IDEMPOTENCY_KEY_IN_USE", "IDEMPOTENCY_KEY_REUSED"]
    if (route.method, route.path) in PROMISES:
        codes.append("RECONCILE_ONLY")
    if "{" in route.path:
        codes.append("NOT_FOUND")
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS_BY_ERROR_CODE[code], []).append(code)
    return by_status


def _refusal(status: int, codes: Sequence[str]) -> dict[str, Any]:
    headers = dict(RESPONSE_HEADERS)
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "string"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"description": "How to authenticate.", "schema": {"type": "string"}}
    shown = {
        "success": False,
        "error": {"code": codes[0], "message": "A sentence that says what is wrong"},
        "meta": {"requestId": "0b9c5c6e-8d0f-4a43-9a7b-2f1f6f3a9e11", "timestamp": "2026-01-31T12:00:00Z"},
    }
    return {
        "description": f"{http.HTTPStatus(status).phrase}: {', '.join(codes)}.",
        "headers": headers,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["success", "error", "meta"],
                    "properties": {
                        "success": {"const": False},
                        "error": {
                            "allOf": [
                                {"$ref": f"{SCHEMAS}Error"},
                                {"properties": {"code": {"enum": list(codes)}}},
                            ]
                        },
                        "meta": {"$ref": f"{SCHEMAS}Meta"},
                    },
                },
                "example": shown,
            }
        },
    }


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references."""
    reference = schema.get("$ref")
    return {**components[reference], **{k: v for k, v in schema.items() if k != "$ref"}} if reference else dict(schema)


def _portable(schema: Any) -> Any:
    """A schema in the dialect of OpenAPI: its patterns are those of JavaScript, which has no `\\Z`."""
    if isinstance(schema, dict):
        return {
            key: value.replace("\\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema


def example_value(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """An example of a schema, put together from those of its fields."""
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return example_value(schemas[schema["$ref"].removeprefix(SCHEMAS)], schemas)
    if "anyOf" in schema:
        return example_value(schema["anyOf"][0], schemas)
    if "allOf" in schema:
        return {name: value for part in schema["allOf"] for name, value in example_value(part, schemas).items()}
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", ())
            properties = schema.get("properties", {})
            return {
                name: example_value(one, schemas)
                for name, one in properties.items()
                if name in wanted or "examples" in one.get("anyOf", [one])[0]
            }
        case "array":
            return [example_value(schema["items"], schemas)] if schema.get("items") else []
        case "integer":
            return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
        case "number":
            return 0.5
        case "boolean":
            return False
        case "null":
            return None
    return "text"
