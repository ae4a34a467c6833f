"""The envelope of each response (`success`, then `data` or `error`, then `meta`), and the headers of each response.

The security headers forbid a browser to run, frame, sniff, cache or share a response.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError
from shared.platform.pagination import Page, PageRequest

JSON_CONTENT_TYPE: Final = "application/json"
INTERNAL_ERROR_MESSAGE: Final = "An internal error; our logs contain its cause under the request id"

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Server": "OVN Pay",  # hides aiohttp's default, with the versions of aiohttp and Python
}

PRODUCTION_HEADERS: Final[Mapping[str, str]] = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
"""Only in production: a developer's browser would refuse http://localhost for a year."""


class ApiError(Exception):
    """An error response of the gateway itself; those of the domain are `DomainError`."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}


def security_headers(environment: str) -> Mapping[str, str]:
    """The headers of each response in an environment; a handler's own value wins."""
    return {**SECURITY_HEADERS, **PRODUCTION_HEADERS} if environment == "production" else SECURITY_HEADERS


def success_body(data: Any, request_id: str, now: datetime) -> bytes:
    return flat_body({"data": data}, request_id, now)


def flat_body(fields: dict[str, Any], request_id: str, now: datetime) -> bytes:
    """Encode a success with its fields beside `success`."""
    return msgspec.json.encode({"success": True, **fields, "meta": _meta(request_id, now)})


def error_body(code: str, message: str, details: dict[str, Any], request_id: str, now: datetime) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return msgspec.json.encode({"success": False, "error": error, "meta": _meta(request_id, now)})


def domain_error_body(error: DomainError, request_id: str, now: datetime) -> bytes:
    return error_body(error.code, error.message, error.details, request_id, now)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type=JSON_CONTENT_TYPE, headers=headers)


def list_page_payload(items: list[Any], found: Page[Any], wanted: PageRequest) -> dict[str, Any]:
    """A page of a list; its cursor is the id of its last item."""
    return {
        "items": items,
        "total": found.total,
        "page": wanted.number,
        "pageSize": wanted.size,
        "hasNextPage": found.more,
        "nextCursor": items[-1]["id"] if found.more else None,
    }


def _meta(request_id: str, now: datetime) -> dict[str, str]:
    return {"requestId": request_id, "timestamp": format_rfc3339(now)}
