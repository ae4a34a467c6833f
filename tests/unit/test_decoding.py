"""The strict decoder at the door: each kind of bad body gets its own clear 400."""

from typing import Any

import msgspec
import pytest

from gateway.http.decoding import convert_to_shape, parse_json
from gateway.http.envelope import ApiError


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1"),
        (b'{"a": 1,}', "line 1"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": [{"b": 1, "b": "1"}]}', "'b' is there twice"),
        (b'{"a": "", "": 1, "": 2}', "is there twice"),
        (b'{"a": "\xc3\xa9", "\xc3\xa9": "a", "\xc3\xa9": "a"}', "is there twice"),
        (b'{"a": 1, "' + b"x" * 5_000 + b'": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "digits"),
        (b'{"a": ' + b"9" * 4_001 + b"}", "digits"),
        (b'{"a": 0.' + b"9" * 4_000 + b"}", "out of range"),
        (b'{"a": 01}', "line 1"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": ["x", {"b": "\\ud800"}]}', "surrogate"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": "\x01"}', "control character"),
        (b'{"a": 1} x', "Extra data"),
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes, says: str) -> None:
    """And says why."""
    with pytest.raises(ApiError) as refused:
        parse_json(raw)
    assert (refused.value.status, refused.value.code) == (400, "INVALID_JSON")
    assert says in refused.value.message


@pytest.mark.parametrize("text", ["é", "\\u00e9", "\\ud83d\\ude00", "\\\\u0000", "日本"])
def test_honest_text_passes(text: str) -> None:
    """Escaped or not, astral or not; an escaped backslash is no NUL."""
    assert isinstance(parse_json(f'{{"a": "{text}"}}'.encode())["a"], str)


class Body(msgspec.Struct, forbid_unknown_fields=True):
    amount: int
    name: str = ""


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "amount"),
        ({"amount": "45000"}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": 1, "name": 7}, "name"),
        ({"amount": 1, "extra": 1}, "extra"),
        ([], None),
        (None, None),
        ("text", None),
    ],
)
def test_an_error_names_its_field(content: Any, field: str | None) -> None:
    """In the message and in the details."""
    with pytest.raises(ApiError) as refused:
        convert_to_shape(content, Body)
    assert (refused.value.status, refused.value.code) == (400, "VALIDATION_ERROR")
    assert refused.value.details.get("field") == field
    assert field is None or field in refused.value.message


def test_a_repeated_field_among_many_is_found_at_once() -> None:
    """100,000 names take no minutes: a body of 1 MB must not stop the gateway."""
    names = ",".join(f'"{number}":0' for number in range(60_000))
    with pytest.raises(ApiError, match="there twice"):
        parse_json(f'{{{names},"59999":0}}'.encode())
