"""Query parameters, converted to the shape that the endpoint declares; unknown ones are rejected."""

import enum
import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from gateway.http.decoding import convert_to_shape
from gateway.http.envelope import ApiError
from shared.platform.ids import parse_id
from shared.platform.masking import echo_field_name
from shared.platform.pagination import PageRequest

Shape = TypeVar("Shape", bound=msgspec.Struct)

PAGE_SIZE_MAX: Final = 100

PageNumber = Annotated[int, Meta(ge=1, le=10_000_000, description="The page, from 1; not with `cursor`.")]
PageSize = Annotated[int, Meta(ge=1, le=PAGE_SIZE_MAX, description="Items per page.")]
Cursor = Annotated[str, Meta(min_length=1, max_length=100, description="The `nextCursor` of the previous response.")]


_DAY_OR_TIME: Final = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))?$"
DayOrTime = Annotated[
    str,
    Meta(
        max_length=40,
        description="A date (its start in UTC), for example 2026-01-31, or an RFC 3339 time with Z or an offset.",
        examples=["2026-01-31"],
        extra_json_schema={"pattern": _DAY_OR_TIME},
    ),
]


class Format(enum.StrEnum):
    """The format of the response: `csv` is the complete list as a file."""

    JSON = "json"
    CSV = "csv"


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No query parameters."""


class PageQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    page: PageNumber | UnsetType = UNSET
    pageSize: PageSize = 50
    cursor: Cursor | UnsetType = UNSET


class ShortPageQuery(PageQuery, kw_only=True):
    pageSize: PageSize = 20


def parse_query(request: web.Request, shape: type[Shape]) -> Shape:
    """Convert the request's parameters to a shape; repeated ones are rejected."""
    given = request.query
    if not given and shape is NoQuery:
        return shape()
    if len(given) != len(set(given)):
        name = next(name for name in given if len(given.getall(name)) > 1)
        raise ApiError(
            400, "VALIDATION_ERROR", f"{echo_field_name(name)} is repeated; send it once", field=echo_field_name(name)
        )
    for name, value in given.items():
        if "\0" in value or "\0" in name or any(0xD800 <= ord(character) <= 0xDFFF for character in name + value):
            raise ApiError(
                400,
                "VALIDATION_ERROR",
                "A query parameter contains NUL or an unpaired surrogate",
                field=echo_field_name(name),
            )
    found = convert_to_shape(dict(given), shape, what="a query parameter of this endpoint", lax=True)
    attributes = {field.encode_name: field.name for field in msgspec.structs.fields(found)}
    for name, value in given.items():
        number = getattr(found, attributes[name], None)
        if isinstance(number, int) and str(number) != value:  # msgspec also accepts 1e3 and 1.0
            raise ApiError(400, "VALIDATION_ERROR", f"`{name}` must be an integer in decimal digits", field=name)
    return found


def requested_page(listing: PageQuery, prefix: str) -> PageRequest:
    if listing.cursor is UNSET:
        return PageRequest(listing.pageSize, 1 if listing.page is UNSET else listing.page)
    if listing.page is not UNSET:
        raise ApiError(400, "VALIDATION_ERROR", "`page` can't be combined with `cursor`", field="page")
    after = parse_id(prefix, listing.cursor)
    if after is None:
        raise ApiError(400, "VALIDATION_ERROR", "`cursor` is not a value returned by this list", field="cursor")
    return PageRequest(listing.pageSize, None, after)


def parse_time_range(since: str | UnsetType, until: str | UnsetType) -> tuple[datetime | None, datetime | None]:
    """Parse the parameters `from` (inclusive) and `to` (exclusive)."""
    first = None if since is UNSET else _moment(since, "from")
    last = None if until is UNSET else _moment(until, "to")
    if first is not None and last is not None and first >= last:
        raise ApiError(400, "VALIDATION_ERROR", "`to` must be later than `from`", field="to")
    return first, last


def _moment(text: str, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(text) if re.match(_DAY_OR_TIME, text, re.ASCII) else None
        if found is not None:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = (
        f"`{name}` must be a date, for example 2026-01-31, or an RFC 3339 time with Z or an offset (encode + as %2B)"
    )
    raise ApiError(400, "VALIDATION_ERROR", message, field=name)
