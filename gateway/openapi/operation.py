"""The declaration of an endpoint: what it accepts and returns. Requests are decoded and documented from it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.app_state import CREDENTIAL, SERVICES
from gateway.http.decoding import BODY_BYTES_MAX, decode_body, may_have_large_body, read_body, reject_body
from gateway.http.query_parameters import NoQuery, parse_query

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Operation:
    summary: str
    description: str
    query: type | None
    """The shape of the query parameters; None: they are ignored."""
    body: type | None
    """The shape of the body."""
    is_body_optional: bool
    """Whether the body can be left out; its defaults apply."""
    has_body: bool
    """Whether the endpoint accepts a body; a raw one has no shape."""
    response: Any
    """The shape of `data`, or with `is_flat` of the fields beside `success` and `meta`."""
    is_flat: bool
    error_codes: tuple[str, ...]
    """The endpoint's own error codes, in addition to those of all endpoints."""
    is_idempotent: bool
    """Whether it supports an Idempotency-Key."""
    has_csv: bool
    """Whether it can respond with CSV."""


_ATTRIBUTE: Final = "__operation__"


def operation(
    *,
    response: Any,
    query: type[msgspec.Struct] | None = NoQuery,
    body: type[msgspec.Struct] | None = None,
    body_optional: bool = False,
    raw_body: bool = False,
    flat: bool = False,
    error_codes: tuple[str, ...] = (),
    idempotent: bool = False,
    csv: bool = False,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Callable[[Callable[..., Awaitable[web.StreamResponse]]], Handler]:
    """Make a handler of a function; the decoded query and body, if declared, are passed to it.

    A large body occupies a slot from before it is read until the response is sent, to bound memory.
    """

    def declare(function: Callable[..., Awaitable[web.StreamResponse]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            arguments: list[Any] = []
            if query is not None:
                parameters = parse_query(request, query)
                if query is not NoQuery:
                    arguments.append(parameters)
            if body is not None and body_optional and not await read_body(request, body_bytes_max):
                arguments.append(body())
            elif body is not None:
                arguments.append(await decode_body(request, body, bytes_max=body_bytes_max))
            elif not raw_body and request.method in ("POST", "PUT", "DELETE"):
                await reject_body(request)
            return await function(request, *arguments)

        async def handle_with_limit(request: web.Request) -> web.StreamResponse:
            if not may_have_large_body(request, body_bytes_max):
                return await handle(request)
            with request.app[SERVICES].large_bodies.slot(request[CREDENTIAL].wallet_id):
                return await handle(request)

        summary, _, rest = (inspect.getdoc(function) or "").partition("\n")
        handler = handle_with_limit if body_bytes_max > BODY_BYTES_MAX else handle
        declared = Operation(
            summary=summary.strip().removesuffix("."),
            description=" ".join(rest.split()),
            query=query,
            body=body,
            is_body_optional=body_optional,
            has_body=body is not None or raw_body,
            response=response,
            is_flat=flat,
            error_codes=error_codes,
            is_idempotent=idempotent,
            has_csv=csv,
        )
        setattr(handler, _ATTRIBUTE, declared)
        handler.__doc__, handler.__name__, handler.__module__ = function.__doc__, function.__name__, function.__module__
        return handler

    return declare


def operation_of(handler: Handler) -> Operation:
    declared: Operation = getattr(handler, _ATTRIBUTE)
    return declared
