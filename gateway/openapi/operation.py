"""Operations: what an endpoint takes and gives, declared once: by it requests are read, and documented."""

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
    """One endpoint's declaration."""

    summary: str
    description: str
    query: type | None
    """The shape of its query parameters; None: they are not looked at."""
    body: type | None
    """The shape of its body."""
    body_optional: bool
    """Whether the body may be left out: its defaults hold then."""
    takes_body: bool
    """Whether it takes a body at all; a raw one is not described further."""
    answer: Any
    """The shape of `data`, or with `flat` of what stands beside `success` and `meta`."""
    flat: bool
    refuses: tuple[str, ...]
    """The codes that it refuses with, beyond those that all endpoints share."""
    once: bool
    """Whether it takes an Idempotency-Key."""
    csv: bool
    """Whether it also answers as CSV, where its query says so."""


_ATTRIBUTE: Final = "__operation__"


def operation(
    *,
    answer: Any,
    query: type[msgspec.Struct] | None = NoQuery,
    body: type[msgspec.Struct] | None = None,
    body_optional: bool = False,
    raw_body: bool = False,
    flat: bool = False,
    refuses: tuple[str, ...] = (),
    once: bool = False,
    csv: bool = False,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Callable[[Callable[..., Awaitable[web.StreamResponse]]], Handler]:
    """Makes a handler of a function that is given the request and, where declared, its query or its body, read.

    A large body takes a place before it is read, and keeps it until it is answered: what waits is bounded memory.
    """

    def declare(function: Callable[..., Awaitable[web.StreamResponse]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not may_have_large_body(request, body_bytes_max):
                return await answered(request)
            with request.app[SERVICES].large_bodies.take(request[CREDENTIAL].wallet_id):
                return await answered(request)

        async def answered(request: web.Request) -> web.StreamResponse:
            given: list[Any] = []
            if query is not None:
                asked = parse_query(request, query)
                if query is not NoQuery:
                    given.append(asked)
            if body is not None and body_optional and not await read_body(request, body_bytes_max):
                given.append(body())
            elif body is not None:
                given.append(await decode_body(request, body, bytes_max=body_bytes_max))
            elif not raw_body and request.method in ("POST", "PUT", "DELETE"):
                await reject_body(request)
            return await function(request, *given)

        text = inspect.getdoc(function) or ""
        summary, _, rest = text.partition("\n")
        made = Operation(
            summary=summary.strip().removesuffix("."),
            description=" ".join(rest.split()),
            query=query,
            body=body,
            body_optional=body_optional,
            takes_body=body is not None or raw_body,
            answer=answer,
            flat=flat,
            refuses=refuses,
            once=once,
            csv=csv,
        )
        made_of = handle if body_bytes_max > BODY_BYTES_MAX else answered
        setattr(made_of, _ATTRIBUTE, made)
        made_of.__doc__, made_of.__name__, made_of.__module__ = function.__doc__, function.__name__, function.__module__
        return made_of

    return declare


def operation_of(handler: Handler) -> Operation:
    """A handler's declaration."""
    made: Operation = getattr(handler, _ATTRIBUTE)
    return made
