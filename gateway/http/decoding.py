"""The strict decoder at the door: what passes here can be stored, compared and shown again unchanged.

Refused beyond what JSON forbids: duplicate keys, NaN and infinities, endless nesting, numbers of thousands of
digits, NUL and lone surrogates in text, unknown fields.
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
"""For requests of up to 10,000 payouts."""
LARGE_BODY_BYTES = 64 * 1024
"""A body of more is read off the event loop, and where thousands of items may come, at a place of its own."""
BODY_SECONDS_MAX = 10.0
NUMBER_DIGITS_MAX = 4_000
FIELD_LENGTH_MAX = 200
"""How much of a field's name an error repeats."""

Shape = TypeVar("Shape")

_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")


class _Refused(ValueError):
    """Why a body is refused, and the field at fault where it is known."""

    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(problem)
        self.field = field


async def read_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The raw body, bounded in size and time."""
    encodings = request.headers.getall("Content-Encoding", ())
    if encodings and any(value.lower() != "identity" for value in encodings):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "Compressed bodies are not accepted; send it as it is")
    length = request.content_length
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    try:
        if request.content.is_eof():  # it came with the head, as most do: a timer would be set for nothing
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
        raise ApiError(400, "BAD_REQUEST", f"The body did not arrive whole: {type(error).__name__}") from None
    if len(raw) > bytes_max:
        raise _too_large(bytes_max)
    return raw


def may_have_large_body(request: web.Request, bytes_max: int) -> bool:
    """Whether the body, not read yet, may be a large one of those that take a place each: where more than
    `BODY_BYTES_MAX` may come, and it is announced as large, or comes in chunks, which announce nothing. One that is
    too large is none, for it is refused unread.
    """
    if bytes_max <= BODY_BYTES_MAX or not request.body_exists:
        return False
    length = request.content_length
    return length is None or LARGE_BODY_BYTES < length <= bytes_max


async def reject_body(request: web.Request) -> None:
    """Refuses a body where none is taken; an empty JSON object is none."""
    if (await read_body(request)).strip() not in (b"", b"{}"):
        raise ApiError(400, "VALIDATION_ERROR", "This request takes no body")


async def decode_body(request: web.Request, shape: type[Shape], *, bytes_max: int = BODY_BYTES_MAX) -> Shape:
    """The request's body in the shape that the endpoint takes. A large one is read off the event loop."""
    if request.content_type != "application/json":
        raise ApiError(
            415, "UNSUPPORTED_MEDIA_TYPE", "Send the body as JSON, with the header Content-Type: application/json"
        )
    raw = await read_body(request, bytes_max)
    if len(raw) > LARGE_BODY_BYTES:
        return await asyncio.to_thread(lambda: convert_to_shape(parse_json(raw), shape))
    return convert_to_shape(parse_json(raw), shape)


def parse_json(raw: bytes) -> Any:
    """Strict JSON."""
    if len(raw) <= NUMBER_DIGITS_MAX and b"\\" not in raw:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # A third of what Python's decoder takes with its checks, but of two fields with one name it takes the last.
            # Without escapes each quote begins or ends a name or a text: written again it has fewer, if one is gone.
            content = msgspec.json.decode(raw)
            if msgspec.json.encode(content).count(b'"') == raw.count(b'"'):
                return content
    details: dict[str, Any] = {}
    try:
        text = raw.decode("utf-8")
        if text.startswith("\ufeff"):
            raise _Refused("it begins with a BOM")
        return (_CHECKING if "\\u" in text else _STRICT).decode(text)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except _Refused as error:
        problem, details = str(error), {"field": error.field} if error.field else {}
    raise ApiError(400, "INVALID_JSON", f"The body can't be read as JSON: {problem}", **details)


def convert_to_shape(
    content: Any, shape: type[Shape], *, what: str = "a field of this request", lax: bool = False
) -> Shape:
    """Content in a shape; an error names the field. With `lax`, numbers and booleans come as text."""
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
            problem = "has a wrong value: it is none of those that this field can have"
        else:
            problem = f"has a wrong value: {problem[:1].lower()}{problem[1:]}"
        path = path[:FIELD_LENGTH_MAX]
        details: dict[str, Any] = {"field": path} if path else {}
        raise ApiError(400, "VALIDATION_ERROR", f"{path or 'The body'} {problem}", **details) from None


def _too_large(bytes_max: int) -> ApiError:
    return ApiError(
        413, "PAYLOAD_TOO_LARGE", f"The body is larger than {bytes_max} bytes", headers={"Connection": "close"}
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Refused(f"the field {echo_field_name(repeated)!r} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_DIGITS_MAX:
        raise _Refused(f"a number has more than {NUMBER_DIGITS_MAX} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    number = float(digits)
    if len(digits) > NUMBER_DIGITS_MAX or number in (float("inf"), float("-inf")):
        raise _Refused("a number is out of range")
    return number


class _Checking(json.JSONDecoder):
    """Checks every text too; needed only where the body has escapes, for only they can smuggle these in."""

    def decode(self, s: str, *arguments: Any) -> Any:
        content = super().decode(s, *arguments)
        _check_texts(content, "")
        return content


def _check_texts(content: Any, path: str) -> None:
    if isinstance(content, str):
        if "\0" in content:
            raise _Refused(f"{path or 'a text'} contains the NUL character", path)
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            raise _Refused(f"{path or 'a text'} contains half of a surrogate pair", path) from None
    elif isinstance(content, dict):
        for name, value in content.items():
            _check_texts(name, path)
            _check_texts(value, f"{path}.{echo_field_name(name)}".strip("."))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            _check_texts(value, f"{path}[{place}]")


_HOOKS: Final[dict[str, Any]] = {
    "object_pairs_hook": _no_duplicates,
    "parse_constant": _no_constant,
    "parse_int": _integer,
    "parse_float": _decimal,
}
# Made once: making one takes longer than reading a small body with it.
_STRICT: Final = json.JSONDecoder(**_HOOKS)
_CHECKING: Final = _Checking(**_HOOKS)
