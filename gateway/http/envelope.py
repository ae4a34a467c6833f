"""The envelope of every answer: `success`, then `data` or `error`, then `meta`."""

from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError
from shared.platform.pagination import Page, PageRequest

JSON_CONTENT_TYPE = "application/json"


class ApiError(Exception):
    """An answer other than success that the gateway itself decides on."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}


def success_body(data: Any, request_id: str, now: datetime) -> bytes:
    """The body of a success."""
    return flat_body({"data": data}, request_id, now)


def flat_body(fields: dict[str, Any], request_id: str, now: datetime) -> bytes:
    """The body of a success whose fields stand beside `success`."""
    return msgspec.json.encode({"success": True, **fields, "meta": _meta(request_id, now)})


def error_body(code: str, message: str, details: dict[str, Any], request_id: str, now: datetime) -> bytes:
    """The body of an error."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = details
    return msgspec.json.encode({"success": False, "error": error, "meta": _meta(request_id, now)})


def refusal_body(refusal: DomainError, request_id: str, now: datetime) -> bytes:
    """The body of a refusal by the domain."""
    return error_body(refusal.code, refusal.message, refusal.details, request_id, now)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An HTTP answer."""
    return web.Response(body=body, status=status, content_type=JSON_CONTENT_TYPE, headers=headers)


def list_page_payload(items: list[Any], found: Page[Any], wanted: PageRequest) -> dict[str, Any]:
    """A part of a list, with the cursor to go on from its last item."""
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
