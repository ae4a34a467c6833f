"""Strict decoding: each kind of invalid body gets its own 400."""

from typing import Any

import msgspec
import pytest

from gateway.http.decoding import convert_to_shape, parse_json
from gateway.http.envelope import ApiError


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1"),
        (b'{"a": 1,}', "line 1"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 1, "a": 2}', "'a' is repeated"),
        (b'{"a": [{"b": 1, "b": "1"}]}', "'b' is repeated"),
        (b'{"a": "", "": 1, "": 2}', "is repeated"),
        (b'{"a": "\xc3\xa9", "\xc3\xa9": "a", "\xc3\xa9": "a"}', "is repeated"),
        (b'{"a": 1, "' + b"x" * 5_000 + b'": 1, "a": 2}', "'a' is repeated"),
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
def test_invalid_json_is_rejected_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ApiError) as rejected:
        parse_json(raw)
    assert (rejected.value.status, rejected.value.code) == (400, "INVALID_JSON")
    assert reason in rejected.value.message


@pytest.mark.parametrize("text", ["é", "\\u00e9", "\\ud83d\\ude00", "\\\\u0000", "日本"])
def test_valid_unicode_text_is_accepted(text: str) -> None:
    """Escaped or not, inside and outside the basic plane; an escaped backslash does not start a NUL."""
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
def test_error_names_its_field_in_message_and_details(content: Any, field: str | None) -> None:
    with pytest.raises(ApiError) as rejected:
        convert_to_shape(content, Body)
    assert (rejected.value.status, rejected.value.code) == (400, "VALIDATION_ERROR")
    assert rejected.value.details.get("field") == field
    assert field is None or field in rejected.value.message


def test_repeated_field_among_thousands_is_found_quickly() -> None:
    names = ",".join(f'"{number}":0' for number in range(60_000))
    with pytest.raises(ApiError, match="is repeated"):
        parse_json(f'{{{names},"59999":0}}'.encode())
