"""The responses of an endpoint in the OpenAPI document: its success, and each error it can return."""

import http
from collections.abc import Sequence
from typing import Any, Final

from gateway.openapi.error_codes import STATUS_BY_ERROR_CODE
from gateway.openapi.operation import Operation
from gateway.openapi.schemas import SCHEMAS, SchemaComponents
from gateway.routes import Route

RESPONSE_HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "The request's id.", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "Requests per minute.", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Requests accepted at once now.", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {
        "description": "When the whole burst is available again, in Unix seconds.",
        "schema": {"type": "integer"},
    },
}
"""The headers of every response."""


def describe_responses(route: Route, operation: Operation, components: SchemaComponents) -> dict[str, Any]:
    """Map each status of an endpoint to its description."""
    made: dict[str, Any] = {"200": _success(operation, components)}
    for status, codes in sorted(_error_codes(route, operation).items()):
        made[str(status)] = _error(status, codes)
    return made


def _success(operation: Operation, components: SchemaComponents) -> dict[str, Any]:
    data = components.reference(operation.response)
    envelope = {"success": {"const": True}, "meta": {"$ref": f"{SCHEMAS}Meta"}}
    if operation.is_flat:
        schema: dict[str, Any] = {
            "allOf": [data, {"type": "object", "required": ["success", "meta"], "properties": envelope}]
        }
    else:
        schema = {
            "type": "object",
            "required": ["success", "data", "meta"],
            "properties": {"success": envelope["success"], "data": data, "meta": envelope["meta"]},
        }
    headers = dict(RESPONSE_HEADERS)
    if operation.is_idempotent:
        headers["Idempotent-Replayed"] = {
            "description": "Present if this is the stored response of an earlier request.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": components.example(schema)}}
    if operation.has_csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": "Success.", "headers": headers, "content": content}


def _error_codes(route: Route, operation: Operation) -> dict[int, list[str]]:
    codes = ["VALIDATION_ERROR", "BAD_REQUEST", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR", *operation.error_codes]
    if route.access is not None:
        codes += ["UNAUTHORIZED", "FORBIDDEN", "RATE_LIMITED"]
    if route.method != "GET":
        codes += ["REQUEST_TIMEOUT", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]
    if operation.body is not None:
        codes.append("INVALID_JSON")
    if operation.is_idempotent:
        codes += ["IDEMPOTENCY_KEY_IN_USE", "IDEMPOTENCY_KEY_REUSED"]
    if route.moves_money:
        codes.append("RECONCILE_ONLY")
    if "{" in route.path:
        codes.append("NOT_FOUND")
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS_BY_ERROR_CODE[code], []).append(code)
    return by_status


def _error(status: int, codes: Sequence[str]) -> dict[str, Any]:
    headers = dict(RESPONSE_HEADERS)
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "string"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"description": "How to authenticate.", "schema": {"type": "string"}}
    example = {
        "success": False,
        "error": {"code": codes[0], "message": "What is wrong, in one sentence"},
        "meta": {"requestId": "0b9c5c6e-8d0f-4a43-9a7b-2f1f6f3a9e11", "timestamp": "2026-01-31T12:00:00Z"},
    }
    schema = {
        "type": "object",
        "required": ["success", "error", "meta"],
        "properties": {
            "success": {"const": False},
            "error": {"allOf": [{"$ref": f"{SCHEMAS}Error"}, {"properties": {"code": {"enum": list(codes)}}}]},
            "meta": {"$ref": f"{SCHEMAS}Meta"},
        },
    }
    return {
        "description": f"{http.HTTPStatus(status).phrase}: {', '.join(codes)}.",
        "headers": headers,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
