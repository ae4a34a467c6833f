"""Strict decoding of request bodies: an accepted value can be stored, compared and returned unchanged.

In addition to invalid JSON, this rejects duplicate keys, NaN and infinities, excessive nesting, numbers of thousands of
digits, NUL and unpaired surrogates in text, and unknown fields.
"""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from aiohttp import web

from gateway.http.envelope import ApiError
from shared.platform.masking import echo_field_name

BODY_BYTES_MAX = 1024 * 1024
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""For batches of up to 10,000 payouts."""
LARGE_BODY_BYTES = 64 * 1024
"""A larger body is decoded off the event loop, and counts against the limit of large bodies."""
BODY_SECONDS_MAX = 10.0
NUMBER_DIGITS_MAX = 4_000
FIELD_LENGTH_MAX = 200
"""Characters of a field name in an error message."""

Shape = TypeVar("Shape")

_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")


class _InvalidJson(ValueError):
    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(problem)
        self.field = field


async def read_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Read the raw body, within limits of size and time."""
    encodings = request.headers.getall("Content-Encoding", ())
    if encodings and any(value.lower() != "identity" for value in encodings):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "Compressed bodies are not supported; send the body uncompressed")
    length = request.content_length
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    try:
        if request.content.is_eof():  # most bodies arrive with the head: skip the timer
            raw = await request.read()
        else:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                raw = await request.read()
    except TimeoutError:
        raise ApiError(
            408,
            "REQUEST_TIMEOUT",
            f"The body did not arrive within {BODY_SECONDS_MAX:.0f} seconds",
            headers={"Connection": "close"},
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(bytes_max) from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise ApiError(400, "BAD_REQUEST", f"The body is incomplete: {type(error).__name__}") from None
    if len(raw) > bytes_max:
        raise _too_large(bytes_max)
    return raw


def may_have_large_body(request: web.Request, bytes_max: int) -> bool:
    """Whether an endpoint that accepts more than `BODY_BYTES_MAX` gets a large body, or a chunked one of unknown size.

    A body beyond `bytes_max` does not count: it is rejected unread.
    """
    if bytes_max <= BODY_BYTES_MAX or not request.body_exists:
        return False
    length = request.content_length
    return length is None or LARGE_BODY_BYTES < length <= bytes_max


async def reject_body(request: web.Request) -> None:
    """Reject a body, except an empty JSON object."""
    if (await read_body(request)).strip() not in (b"", b"{}"):
        raise ApiError(400, "VALIDATION_ERROR", "This endpoint does not accept a body; leave it out")


async def decode_body(request: web.Request, shape: type[Shape], *, bytes_max: int = BODY_BYTES_MAX) -> Shape:
    """Decode the request's body to a shape, off the event loop if it is large."""
    if request.content_type != "application/json":
        raise ApiError(
            415, "UNSUPPORTED_MEDIA_TYPE", "Send the body as JSON, with the header `Content-Type: application/json`"
        )
    raw = await read_body(request, bytes_max)
    if len(raw) > LARGE_BODY_BYTES:
        return await asyncio.to_thread(lambda: convert_to_shape(parse_json(raw), shape))
    return convert_to_shape(parse_json(raw), shape)


def parse_json(raw: bytes) -> Any:
    if len(raw) <= NUMBER_DIGITS_MAX and b"\\" not in raw:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Three times as fast as Python's decoder with its checks, but it accepts duplicate fields.
            # Without escapes, each quote delimits a string: if a field was dropped, the encoded value has fewer quotes.
            content = msgspec.json.decode(raw)
            if msgspec.json.encode(content).count(b'"') == raw.count(b'"'):
                return content
    details: dict[str, Any] = {}
    try:
        text = raw.decode("utf-8")
        if text.startswith("\ufeff"):
            raise _InvalidJson("it begins with a BOM")
        return (_CHECKING if "\\u" in text else _STRICT).decode(text)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except _InvalidJson as error:
        problem, details = str(error), {"field": error.field} if error.field else {}
    raise ApiError(400, "INVALID_JSON", f"The body is not valid JSON: {problem}", **details)


def convert_to_shape(
    content: Any, shape: type[Shape], *, what: str = "a field of this request", lax: bool = False
) -> Shape:
    """Convert decoded content to a shape; errors name the field. With `lax`, numbers and booleans can be text."""
    try:
        return msgspec.convert(content, shape, strict=not lax)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        path = at[1] if at else ""
        problem = _AT.sub("", text)
        if found := _MISSING.search(problem):
            path, problem = f"{path}.{found[1]}".strip("."), "is required"
        elif found := _UNKNOWN.search(problem):
            path, problem = f"{path}.{echo_field_name(found[1])}".strip("."), f"is not {what}"
        elif problem.startswith(("Invalid enum value", "Invalid value")):
            problem = "is not one of the permitted values"
        else:
            problem = f"is invalid: {problem[:1].lower()}{problem[1:]}"
        path = path[:FIELD_LENGTH_MAX]
        details: dict[str, Any] = {"field": path} if path else {}
        raise ApiError(400, "VALIDATION_ERROR", f"{f'`{path}`' if path else 'The body'} {problem}", **details) from None


def _too_large(bytes_max: int) -> ApiError:
    return ApiError(
        413, "PAYLOAD_TOO_LARGE", f"The body is larger than {bytes_max} bytes", headers={"Connection": "close"}
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _InvalidJson(f"the field {echo_field_name(repeated)!r} is repeated")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _InvalidJson(f"{name} is not valid JSON")


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_DIGITS_MAX:
        raise _InvalidJson(f"a number has more than {NUMBER_DIGITS_MAX} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    number = float(digits)
    if len(digits) > NUMBER_DIGITS_MAX or number in (float("inf"), float("-inf")):
        raise _InvalidJson("a number is out of range")
    return number


class _Checking(json.JSONDecoder):
    """Also checks each string: only a body with escapes can contain NUL or unpaired surrogates."""

    def decode(self, s: str, *arguments: Any) -> Any:
        content = super().decode(s, *arguments)
        _check_strings(content, "")
        return content


def _check_strings(content: Any, path: str) -> None:
    if isinstance(content, str):
        if "\0" in content:
            raise _InvalidJson(f"{path or 'a string'} contains the NUL character", path)
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            raise _InvalidJson(f"{path or 'a string'} contains an unpaired surrogate", path) from None
    elif isinstance(content, dict):
        for name, value in content.items():
            _check_strings(name, path)
            _check_strings(value, f"{path}.{echo_field_name(name)}".strip("."))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            _check_strings(value, f"{path}[{index}]")


_HOOKS: Final[dict[str, Any]] = {
    "object_pairs_hook": _no_duplicates,
    "parse_constant": _no_constant,
    "parse_int": _integer,
    "parse_float": _decimal,
}
# Created once: that takes longer than decoding a small body.
_STRICT: Final = json.JSONDecoder(**_HOOKS)
_CHECKING: Final = _Checking(**_HOOKS)
