"""Query parameters: read by name, within their limits; what is not known is refused, not ignored."""

import enum
import re
from typing import Final, NamedTuple, TypeVar

from aiohttp import web

from gateway.envelope import ApiError

Choice = TypeVar("Choice", bound=enum.StrEnum)

PAGE_SIZE_MAX: Final = 100
PAGE_MAX: Final = 10_000_000
_INTEGER: Final = re.compile(r"\d{1,12}")


class Paging(NamedTuple):
    """Which page of a list."""

    number: int
    size: int


def only(request: web.Request, *names: str) -> None:
    """Refuses parameters that this endpoint does not know, and any given twice."""
    for name in request.query:
        if name not in names:
            raise ApiError(400, "VALIDATION_ERROR", f"{name} is not a query parameter of this endpoint", field=name)
        if len(request.query.getall(name)) > 1:
            raise ApiError(400, "VALIDATION_ERROR", f"{name} is there twice", field=name)


def integer(request: web.Request, name: str, *, default: int | None, most: int) -> int:
    """A positive integer."""
    text = request.query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not _INTEGER.fullmatch(text) or not 1 <= int(text) <= most:
        raise ApiError(400, "VALIDATION_ERROR", f"{name} must be an integer from 1 to {most}", field=name)
    return int(text)


def paging(request: web.Request, *, size: int = 50) -> Paging:
    """`page` and `pageSize`."""
    return Paging(
        integer(request, "page", default=1, most=PAGE_MAX),
        integer(request, "pageSize", default=size, most=PAGE_SIZE_MAX),
    )


def choice(request: web.Request, name: str, choices: type[Choice]) -> Choice | None:
    """One of a few words; None where the parameter is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise ApiError(400, "VALIDATION_ERROR", f"{name} must be one of {', '.join(choices)}", field=name) from None
