"""The OpenAPI document, generated from the URL table and the declarations of its handlers."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from gateway.handlers.bulk_shapes import BulkPayout
from gateway.handlers.driver_shapes import RegisterDriver
from gateway.openapi.operation import Operation, operation_of
from gateway.openapi.responses import describe_responses
from gateway.openapi.schemas import SchemaComponents, inline_schema, to_portable_schema
from gateway.routes import ADMIN_ROLES, API_PREFIX, Route
from shared.schema.scenarios import Scenario

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
3339 in UTC. Each response has `success`, then `data` or `error` (`code`, `message` and sometimes `details`), and `meta`
with the request's id.

POSTs with an `Idempotency-Key`: for 48 hours a repeat gets the first response again, with `Idempotent-Replayed: true`;
`GET /payouts?idempotencyKey=` returns what a request created. Lists are newest first; use `page`, or `cursor` for any
depth.
"""


class Meta(msgspec.Struct):
    """The metadata of each response."""

    requestId: str
    """The value of the header `X-Request-Id` if it is a UUID, else a new one."""
    timestamp: str


class Error(msgspec.Struct):
    """Why a request was rejected; nothing was changed."""

    code: str
    message: str
    details: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def build_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Describe the API's routes, and leave out those of the documentation."""
    described = [route for route in routes if route.path.startswith((API_PREFIX, "/health"))]
    operations = [operation_of(route.handler) for route in described]
    shapes: list[Any] = [Meta, Error, BulkPayout, RegisterDriver]
    shapes += [one.response for one in operations]
    shapes += [one.body for one in operations if one.body is not None]
    components = SchemaComponents(shapes)
    paths: dict[str, Any] = {}
    for route, one in zip(described, operations, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _describe(route, one, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "OVN Pay", "version": "1.0.0", "description": API_DESCRIPTION.strip()},
        "servers": [{"url": "/", "description": "This gateway"}],
        "tags": [{"name": name} for name in TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": components.by_name,
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: ovnp_sbox_… or ovnp_prod_…"},
                "session": {"type": "http", "scheme": "bearer", "description": "A token of POST /api/v1/auth/login"},
            },
        },
    }


def _describe(route: Route, one: Operation, components: SchemaComponents) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": _camel_case(route.handler.__name__),
        "tags": [TAGS[route.path.removeprefix(API_PREFIX).strip("/").partition("/")[0]]],
        "summary": one.summary,
        "description": " ".join(filter(None, (one.description, _access(route)))),
        "security": _security(route),
        "parameters": list(_parameters(route, one)),
        "responses": describe_responses(route, one, components),
    }
    if one.body is not None:
        schema = components.reference(one.body)
        made["requestBody"] = {
            "required": not one.is_body_optional,
            "content": {"application/json": {"schema": schema, "example": components.example(schema)}},
        }
    elif one.has_body:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    return made


def _camel_case(name: str) -> str:
    """`list_payouts` → `listPayouts`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.access is None:
        return []
    return [{"apiKey" if isinstance(route.access, str) else "session": []}]


def _access(route: Route) -> str:
    if isinstance(route.access, str):
        return f"Requires the scope `{route.access}`."
    if route.access == ADMIN_ROLES:
        return "Requires the role owner or admin."
    return ""


def _parameters(route: Route, one: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    if one.query is not None:
        yield from _query_parameters(one.query, one.response)
    if one.is_idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A repeat with the same key within 48 hours gets the first response and changes nothing.",
            "schema": {"type": "string", "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        }
    if isinstance(route.access, str):
        yield {
            "name": "X-Sandbox-Scenario",
            "in": "header",
            "description": "What the sandbox simulates for this request; for sandbox keys only.",
            "schema": {"type": "string", "enum": [scenario.value for scenario in Scenario]},
        }
    yield {
        "name": "X-Request-Id",
        "in": "header",
        "description": "A UUID that identifies the request in the logs; any other value is replaced by a new UUID.",
        "schema": {"type": "string"},
    }


def _query_parameters(query: type, response: Any) -> Iterator[dict[str, Any]]:
    [_], components = msgspec.json.schema_components([query], ref_template="{name}")
    own = components[query.__name__]
    for name, schema in own.get("properties", {}).items():
        inlined = to_portable_schema(inline_schema(schema, components))
        if name == "cursor":
            inlined["pattern"] = _cursor_pattern(response)
        yield {
            "name": name,
            "in": "query",
            "required": name in own.get("required", ()),
            "description": inlined.pop("description", ""),
            "schema": inlined,
        }


def _cursor_pattern(response: Any) -> str:
    """The pattern of a list's cursors: that of its items' ids."""
    [_], components = msgspec.json.schema_components([response], ref_template="{name}")
    [listed] = [schema for schema in components.values() if "nextCursor" in schema.get("properties", {})]
    item = components[listed["properties"]["items"]["items"]["$ref"]]
    pattern: str = item["properties"]["id"]["pattern"]
    return pattern
