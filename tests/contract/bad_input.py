"""What a client can send that is no request we serve, and the answer that each gets.

Bytes, since no client library would send most of it. `$driver` and its like are replaced by the running system's ids.
Where the texts leave room, several statuses or codes are right; no code means any.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tests.support.raw_http import Headers, chunked, request

MIB = 1024 * 1024

DRIVERS, DRIVER, PAYOUTS = "/api/v1/drivers", "/api/v1/drivers/$driver", "/api/v1/payouts"
INSTANT, FEE, BALANCE = "/api/v1/payouts/instant", "/api/v1/payouts/instant/fee", "/api/v1/balance"
BULK_DRIVERS, BULK_PAYOUTS = "/api/v1/drivers/bulk", "/api/v1/payouts/bulk"
BULK_CANCEL, BULK_RETRY = "/api/v1/payouts/bulk/cancel", "/api/v1/payouts/bulk/retry"
TOPUP, TRANSACTIONS = "/api/v1/funding/topup", "/api/v1/funding/transactions"
BATCHES, SCHEDULED, LOGS = "/api/v1/batches", "/api/v1/scheduled-payouts", "/api/v1/webhooks/logs"
LOGIN, KEYS, PAYSTREAM = "/api/v1/auth/login", "/api/v1/developer/keys", "/api/v1/webhooks/paystream"
LISTS = (DRIVERS, PAYOUTS, f"{DRIVER}/payouts", TRANSACTIONS, BATCHES, SCHEDULED, LOGS)

KEY = (("Authorization", b"Bearer $key"),)
SESSION = (("Authorization", b"Bearer $session"),)
JSON = (("Content-Type", b"application/json"),)


@dataclass(frozen=True)
class Case:
    """One request. `pieces` are sent one after the other, with `pause_seconds` after each."""

    name: str
    method: str
    pieces: tuple[bytes, ...]
    statuses: frozenset[int]  # with 0: or the connection is closed without an answer
    codes: frozenset[str] = frozenset()
    field: str | None = None  # what details.field has to name
    seconds: float = 2.0
    pause_seconds: float = 0.0
    drip: bool = False  # the last piece goes byte by byte
    send_all: bool = False  # reads only after it has sent everything
    hang_up: bool = False  # closes its half after sending
    ends_connection: bool = False  # nothing behind it may be taken for another request
    headers: tuple[str, ...] = ()  # that the answer has to have


def _case(
    name: str,
    method: str,
    target: str | bytes,
    status: int | Iterable[int],
    code: str = "",
    field: str | None = None,
    *,
    headers: Headers = KEY,
    body: bytes | None = None,
) -> Case:
    """`code`: none, one, or several with a bar between."""
    statuses = frozenset([status] if isinstance(status, int) else status)
    where = target.encode() if isinstance(target, str) else target
    codes = frozenset(code.split("|")) if code else frozenset()
    return Case(name, method, (request(method, where, headers, body),), statuses, codes, field)


def _short(path: str) -> str:
    return path.removeprefix("/api/v1/").replace("$driver", ":id")


def _post(
    name: str,
    path: str,
    body: bytes | object,
    code: str = "VALIDATION_ERROR",
    field: str | None = None,
    *,
    status: int | Iterable[int] = 400,
    headers: Headers = (),
) -> Case:
    """A body sent as JSON. To one driver it is a PUT; an account's key pages take a session, the rest an API key."""
    method = "PUT" if path == DRIVER else "POST"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    who: tuple[tuple[str, bytes], ...] = SESSION if path == KEYS else () if path == LOGIN else KEY
    headers = (*who, *headers)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, *JSON)
    return _case(f"{method} {_short(path)}: {name}", method, path, status, code, field, headers=headers, body=data)


def _raw(name: str, data: bytes, status: int | Iterable[int] = 400, code: str = "", method: str = "GET") -> Case:
    """Bytes that are no HTTP: the connection has to end with the answer."""
    statuses = frozenset([status] if isinstance(status, int) else status)
    return Case(name, method, (data,), statuses, frozenset(code.split("|")) if code else frozenset())


# Bodies that would be taken, as JSON text: each with one text and perhaps one number, to be replaced by a fault.
_FINE: dict[str, tuple[dict[str, object], str, str | None]] = {
    DRIVERS: ({"ovnDriverId": "OVN-BAD", "name": "Bad Input", "email": "bad@example.com"}, "name", None),
    DRIVER: ({"name": "Bad Input"}, "name", None),
    PAYOUTS: ({"driverId": "$driver", "amount": 1000, "description": "Bad input"}, "description", "amount"),
    INSTANT: ({"driverId": "$driver", "amount": 1000, "requestedBy": "bad input"}, "requestedBy", "amount"),
    TOPUP: ({"amount": 1000, "method": "bank_transfer", "description": "Bad input"}, "description", "amount"),
    BULK_DRIVERS: ({"drivers": [{"name": "Bad"}], "note": "Bad input"}, "note", None),
    BULK_PAYOUTS: ({"urgency": "standard", "payouts": [{"driverId": "drv_abc", "amount": 1000}]}, "urgency", None),
    BULK_CANCEL: ({"payoutIds": ["pay_xyz"], "note": "Bad input"}, "note", None),
    BATCHES: ({"name": "Bad input", "payouts": [{"driverId": "$driver", "amount": 1000}]}, "name", None),
    LOGIN: ({"email": "bad@example.com", "password": "Bad input"}, "email", None),
    KEYS: ({"name": "Bad input", "mode": "sandbox", "scopes": ["drivers:read"], "expires_in": 9}, "name", "expires_in"),
}
_WITHOUT_SESSION = tuple(path for path in _FINE if path != KEYS)


def _with(path: str, field: str, token: bytes) -> bytes:
    """The fine body for `path` with `token` as the value of `field`."""
    body = json.dumps(_FINE[path][0] | {field: "@@"}).encode()
    return body.replace(b'"@@"', token)


_JSON_OR_FIELD = "INVALID_JSON|VALIDATION_ERROR"

_NO_JSON: dict[str, bytes] = {
    "no body": b"",
    "a blank": b" ",
    "half a body": b'{"amount": 45000, ',
    "half a text": b'{"description": "Lo',
    "half an escape": b'{"description": "\\u12',
    "a comma too many": b'{"amount": 1,}',
    "single quotes": b"{'amount': 1}",
    "a comment": b'{"amount": 1} // cents',
    "two bodies": b'{"amount": 1} {"amount": 2}',
    "no quotes": b"{amount: 1}",
    "form fields": b"driverId=drv_abc&amount=1",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "UTF-16": '{"amount": 1}'.encode("utf-16"),
    "Latin-1": b'{"name": "\xe9"}',
    "NULs": b"\0" * 100,
    "gzip that doesn't say so": gzip.compress(b'{"amount": 1}'),
    "nested 100,000 deep, open": b"[" * 100_000,
    "nested 100,000 deep, objects": b'{"a":' * 100_000,
    "nested 100,000 deep, closed": b"[" * 100_000 + b"]" * 100_000,
}
_NO_OBJECT: dict[str, bytes] = {
    "a list": b"[]",
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "a text": b'"text"',
    "lists 400 deep": b"[" * 400 + b"]" * 400,
}
# tokens for a text
_NO_TEXT: dict[str, tuple[bytes, str]] = {
    "NUL escape": (rb'"Bad\u0000input"', _JSON_OR_FIELD),
    "lone high surrogate": (rb'"Bad\ud800input"', _JSON_OR_FIELD),
    "lone low surrogate": (rb'"Bad\udc00input"', _JSON_OR_FIELD),
    "surrogates the wrong way round": (rb'"Bad\udc00\ud800input"', _JSON_OR_FIELD),
    "surrogate at the end": (rb'"Bad\ud83d"', _JSON_OR_FIELD),
    "surrogate as UTF-8": (b'"Bad\xed\xa0\x80input"', "INVALID_JSON"),
    "overlong UTF-8": (b'"Bad\xc0\x80input"', "INVALID_JSON"),
    "a byte that is no UTF-8": (b'"Bad\xffinput"', "INVALID_JSON"),
    "a raw newline": (b'"Bad\ninput"', "INVALID_JSON"),
    "unknown escape": (rb'"Bad\qinput"', "INVALID_JSON"),
    "NaN": (b"NaN", "INVALID_JSON"),
    "an object": (b'{"a": 1}', "VALIDATION_ERROR"),
    "a list": (b'["a"]', "VALIDATION_ERROR"),
    "a number": (b"7", "VALIDATION_ERROR"),
    "true": (b"true", "VALIDATION_ERROR"),
    "900 KB": (b'"' + b"x" * 900_000 + b'"', "VALIDATION_ERROR"),
    "nested 5,000 deep": (b"[" * 5_000 + b"]" * 5_000, _JSON_OR_FIELD),
}
# tokens for a number
_NO_NUMBER: dict[str, tuple[bytes, str]] = {
    "NaN": (b"NaN", "INVALID_JSON"),
    "Infinity": (b"Infinity", "INVALID_JSON"),
    "-Infinity": (b"-Infinity", "INVALID_JSON"),
    "leading zero": (b"01000", "INVALID_JSON"),
    "plus sign": (b"+1000", "INVALID_JSON"),
    "hexadecimal": (b"0x3e8", "INVALID_JSON"),
    "underscore": (b"1_000", "INVALID_JSON"),
    "no digits behind the point": (b"1000.", "INVALID_JSON"),
    "full-width digits": ("\uff11\uff10\uff10\uff10".encode(), "INVALID_JSON"),
    "1e999": (b"1e999", _JSON_OR_FIELD),
    "1e-999": (b"1e-999", _JSON_OR_FIELD),
    "1e9999999999": (b"1e9999999999", _JSON_OR_FIELD),
    "10,000 digits": (b"9" * 10_000, _JSON_OR_FIELD),
    "minus 10,000 digits": (b"-" + b"9" * 10_000, _JSON_OR_FIELD),
    "10,000 digits behind the point": (b"0." + b"1" * 10_000, _JSON_OR_FIELD),
    "900,000 digits": (b"9" * 900_000, _JSON_OR_FIELD),
    "4,000 digits": (b"9" * 4_000, "VALIDATION_ERROR"),
    "2**63": (str(2**63).encode(), "VALIDATION_ERROR"),
    "2**64 + 1000": (str(2**64 + 1000).encode(), "VALIDATION_ERROR"),
    "-2**63 - 1": (str(-(2**63) - 1).encode(), "VALIDATION_ERROR"),
    "minus zero": (b"-0", "VALIDATION_ERROR"),
    "a fraction": (b"1000.5", "VALIDATION_ERROR"),
    "a text": (b'"1000"', "VALIDATION_ERROR"),
    "a list": (b"[1000]", "VALIDATION_ERROR"),
    "an object": (b'{"cents": 1000}', "VALIDATION_ERROR"),
    "true": (b"true", "VALIDATION_ERROR"),
}
# everything at these, a few at the others
_THOROUGHLY = (PAYOUTS, DRIVER, BATCHES)
_A_FEW = {
    "no body",
    "half a body",
    "nested 100,000 deep, objects",
    "a list",
    "null",
    "NUL escape",
    "lone high surrogate",
    "NaN",
    "an object",
    "10,000 digits",
    "2**64 + 1000",
}


def _json_cases() -> Iterator[Case]:
    for path, (fine, text, number) in _FINE.items():

        def wanted(name: str, path: str = path) -> bool:
            return path in _THOROUGHLY or name in _A_FEW

        for name, body in _NO_JSON.items():
            if wanted(name):
                yield _post(name, path, body, "INVALID_JSON")
        for name, body in _NO_OBJECT.items():
            if wanted(name):
                yield _post(name, path, body)
        for name, (token, code) in _NO_TEXT.items():
            if wanted(name):
                yield _post(f"{text} is {name}", path, _with(path, text, token), code, text)
        for name, (token, code) in _NO_NUMBER.items():
            if number and wanted(name):
                yield _post(f"{number} is {name}", path, _with(path, number, token), code, number)
        whole = json.dumps(fine).encode()
        first = json.dumps(next(iter(fine))).encode()
        yield _post("a field twice", path, whole[:-1] + b", " + first + b": 1}", "INVALID_JSON")
        known = {name: value for name, value in fine.items() if name != "note"}
        yield _post("an unknown field", path, known | {"surprise": 1}, field="surprise")
    yield from _odd_fields()


def _odd_fields() -> Iterator[Case]:
    escaped = b'{"driverId": "$driver", "amount": 1000, "am\\u006funt": 2000}'
    yield _post("a field twice, once escaped", PAYOUTS, escaped, "INVALID_JSON")
    many = b", ".join(b'"f%d": 1' % number for number in range(50_000))
    yield _post("50,000 unknown fields", PAYOUTS, b"{" + many + b"}")
    yield _post("a name of 500 KB", PAYOUTS, _with(PAYOUTS, "n" * 500_000, b"1"))
    yield _post("an empty name", PAYOUTS, _with(PAYOUTS, "", b"1"))
    yield _post("__proto__", PAYOUTS, _with(PAYOUTS, "__proto__", b'{"amount": 1}'), field="__proto__")
    yield _post("a name with NUL", PAYOUTS, b'{"driverId": "$driver", "amount": 1000, "a\\u0000": 1}', _JSON_OR_FIELD)
    surrogate = b'{"driverId": "$driver", "amount": 1000, "a\\ud800": 1}'
    yield _post("a name with a surrogate", PAYOUTS, surrogate, _JSON_OR_FIELD)
    twice = b'{"payouts": [{"driverId": "$driver", "amount": 1000, "amount": 2000}]}'
    yield _post("a field twice in an item", BULK_PAYOUTS, twice, "INVALID_JSON")
    yield _post("a field twice in an item", BATCHES, b'{"name": "Bad input", ' + twice[1:], "INVALID_JSON")
    for name, value in (("1", 1), ("'yes'", "yes"), ("null", None)):
        yield _post(f"allowDuplicate is {name}", PAYOUTS, _FINE[PAYOUTS][0] | {"allowDuplicate": value})
    yield _post("allowDuplicate without reason", PAYOUTS, _FINE[PAYOUTS][0] | {"allowDuplicate": True})
    for value in (7, ["standard"], "STANDARD", "", "standard "):
        yield _post(f"urgency is {value!r}", PAYOUTS, _FINE[PAYOUTS][0] | {"urgency": value}, field="urgency")
    for value in (7, ["drv_abc"], "", "x" * 100_000, {"$ne": ""}):
        name = repr(value) if len(repr(value)) < 40 else "100 KB"
        wrong = _FINE[PAYOUTS][0] | {"driverId": value}
        code = "VALIDATION_ERROR|DRIVER_NOT_FOUND" if isinstance(value, str) else "VALIDATION_ERROR"
        yield _post(f"driverId is {name}", PAYOUTS, wrong, code, status=(400, 404))


def _collections() -> Iterator[Case]:
    """Bulk operations, batches, a driver's changes, keys: what is wrong as a whole."""
    for path, field, item in (
        (BULK_DRIVERS, "drivers", {"name": "Bad Input"}),
        (BULK_PAYOUTS, "payouts", {"driverId": "drv_abc", "amount": 1000}),
        (BULK_CANCEL, "payoutIds", "pay_xyz"),
        (BULK_RETRY, "payoutIds", "pay_xyz"),
    ):
        yield _post(f"no {field}", path, {}, field=field)
        yield _post(f"{field} is empty", path, {field: []}, field=field)
        yield _post(f"{field} is null", path, {field: None}, field=field)
        yield _post(f"{field} is an object", path, {field: {"0": item}}, field=field)
        yield _post(f"{field} is a text", path, {field: "pay_xyz"}, field=field)
        yield _post(f"101 {field}", path, {field: [item] * 101}, field=field)
        yield _post(f"50,000 {field}", path, {field: [1] * 50_000}, field=field)
    for field, value in (
        ("name", ""),
        ("name", None),
        ("email", "unknown"),
        ("email", ["a@example.com"]),
        ("status", "verified"),
        ("status", "pending"),
        ("status", None),
        ("kycStatus", "verified"),
        ("id", "drv_abc"),
        ("bankAccount", "12345678"),
        ("bankAccount", {"accountNumber": 12345678}),
        ("identity", []),
    ):
        yield _post(f"{field} is {value!r}", DRIVER, {field: value}, field=field)
    item = {"driverId": "$driver", "amount": 1000}
    batch = {"name": "Bad input", "payouts": [item]}
    for field, name, value in (
        ("name", "empty", ""),
        ("name", "201 long", "x" * 201),
        ("payouts", "empty", []),
        ("payouts", "null", None),
        ("payouts", "an object", {"0": item}),
        ("payouts", "10,001 long", [{"driverId": "drv_abc", "amount": 1000}] * 10_001),
        ("urgency", "unknown", "yesterday"),
        ("urgency", "null", None),
        ("scheduledFor", "a number", 1_900_000_000),
        ("scheduledFor", "a word", "tomorrow"),
        ("scheduledFor", "empty", ""),
        ("scheduledFor", "a date only", "2999-01-31"),
        ("scheduledFor", "without offset", "2999-01-31T17:00:00"),
        ("scheduledFor", "past", "2001-01-31T17:00:00Z"),
        ("scheduledFor", "in month 13", "2999-13-01T17:00:00Z"),
        ("scheduledFor", "on February 30", "2999-02-30T17:00:00Z"),
        ("scheduledFor", "in year 10000", "10000-01-01T00:00:00Z"),
        ("scheduledFor", "past in UTC at the calendar's end", "9999-12-31T23:59:59-23:59"),
        ("scheduledFor", "with offset +99:99", "2999-01-31T17:00:00+99:99"),
    ):
        yield _post(f"{field} is {name}", BATCHES, batch | {field: value}, field=field)
    for name, bad in (
        ("a text", "nonsense"),
        ("null", None),
        ("empty", {}),
        ("with amount 0", item | {"amount": 0}),
        ("with a huge amount", item | {"amount": 10**30}),
        ("with an unknown field", item | {"currency": "EUR"}),
        ("with NUL in loadId", item | {"loadId": "L\0"}),
    ):
        code = _JSON_OR_FIELD if "NUL" in name else "VALIDATION_ERROR"
        yield _post(f"an item is {name}", BATCHES, batch | {"payouts": [item, bad]}, code)
    for field, value in (
        ("mode", "live"),
        ("mode", None),
        ("scopes", []),
        ("scopes", "drivers:read"),
        ("scopes", ["drivers:read", "drivers:read"]),
        ("scopes", ["everything"]),
        ("scopes", [7]),
        ("expires_in", 0),
        ("expires_in", 3651),
        ("expires_in", -1),
    ):
        yield _post(f"{field} is {value!r}", KEYS, _FINE[KEYS][0] | {field: value}, field=field)
    yield _post("a password of 900 KB", LOGIN, {"email": "a@example.com", "password": "x" * 900_000}, status=(400, 401))
    yield _post("a password with NUL", LOGIN, {"email": "a@example.com", "password": "\0"}, "", status=(400, 401))


def _bodies() -> Iterator[Case]:
    """Too large, compressed, of another type."""
    large = b'{"description": "' + b"x" * 5_000_000 + b'"}'
    for path in (*_WITHOUT_SESSION, BULK_RETRY, PAYSTREAM):
        yield _post("5 MB", path, large, "PAYLOAD_TOO_LARGE", status=413)
    yield replace(
        _post("5 MB from a client that doesn't listen", PAYOUTS, large, "PAYLOAD_TOO_LARGE", status=413), send_all=True
    )
    yield _post("5 MB in chunks", PAYOUTS, chunked(large), "PAYLOAD_TOO_LARGE", status=413, headers=_IN_CHUNKS)
    yield _post("5 MB in chunks", BATCHES, chunked(large), "PAYLOAD_TOO_LARGE", status=413, headers=_IN_CHUNKS)
    yield replace(
        _post("5 MB in chunks, send_all", PAYOUTS, chunked(large), "PAYLOAD_TOO_LARGE", status=413, headers=_IN_CHUNKS),
        send_all=True,
    )
    for path in (f"{PAYOUTS}/$payout/cancel", f"{PAYOUTS}/$payout/retry"):
        yield _post("5 MB where no body belongs", path, large, "PAYLOAD_TOO_LARGE", status=413)
    padding = MIB - len(b'{"surprise": ""}')
    yield _post("1 MiB to the byte is read", PAYOUTS, b'{"surprise": "' + b"x" * padding + b'"}')
    over = b'{"surprise": "' + b"x" * (padding + 1) + b'"}'
    yield _post("1 MiB and a byte", PAYOUTS, over, "PAYLOAD_TOO_LARGE", status=413)
    yield _post("1 MiB and a byte", DRIVER, over, "PAYLOAD_TOO_LARGE", status=413)
    yield _post("1 MiB and a byte is read", BATCHES, over)
    four = b'{"surprise": "' + b"x" * (padding + 3 * MIB) + b'"}'
    yield _post("4 MiB to the byte is read", BATCHES, four)
    yield _post("4 MiB and a byte", BATCHES, four + b" ", "PAYLOAD_TOO_LARGE", status=413)
    for name, length in (("5000000", 5_000_000), ("2**62", 2**62)):
        announced = (("Content-Length", str(length).encode()),)
        yield _post(f"Content-Length {name}, no body", PAYOUTS, b"", "PAYLOAD_TOO_LARGE", status=413, headers=announced)
    waiting = (("Content-Length", b"5000000"), ("Expect", b"100-continue"))
    yield _post("5 MB, asked first", PAYOUTS, b"", "PAYLOAD_TOO_LARGE", status=413, headers=waiting)

    plain = b'{"driverId": "$driver", "amount": 1000}'
    for path in (PAYOUTS, DRIVERS, DRIVER, BULK_PAYOUTS, BATCHES, TOPUP, LOGIN, PAYSTREAM):
        body = json.dumps(_FINE[path][0]).encode() if path in _FINE else plain
        encoded = (("Content-Encoding", b"gzip"),)
        yield _post("gzip", path, gzip.compress(body), "UNSUPPORTED_MEDIA_TYPE", status=415, headers=encoded)
    for encoding, body in (
        ("gzip", gzip.compress(b"0" * 30_000_000)),
        ("gzip", b"not gzip at all"),
        ("gzip", b""),
        ("deflate", zlib.compress(plain)),
        ("br", b"\x0b\x02\x80{}\x03"),
        ("zstd", b"(\xb5/\xfd\x04\x00\x11\x00\x00{}"),
        ("gzip, gzip", gzip.compress(gzip.compress(plain))),
        ("GZIP", gzip.compress(plain)),
        ("x-gzip", gzip.compress(plain)),
        ("nonsense", plain),
    ):
        name = f"Content-Encoding: {encoding} ({len(body)} bytes)"
        with_encoding = (("Content-Encoding", encoding.encode()),)
        yield _post(name, PAYOUTS, body, "UNSUPPORTED_MEDIA_TYPE", status=415, headers=with_encoding)
    for media_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/xml",
        "application/jsonp",
        "application/json, text/plain",
        "json",
        ";;;",
        "\x7f",
    ):
        wrong = (("Content-Type", media_type.encode("latin-1")),)
        statuses = (400, 415) if media_type == "\x7f" else 415
        code = "" if media_type == "\x7f" else "UNSUPPORTED_MEDIA_TYPE"
        yield _post(f"Content-Type: {media_type!a}", PAYOUTS, plain, code, status=statuses, headers=wrong)
    for path in (DRIVER, BULK_PAYOUTS, BATCHES, LOGIN):
        wrong = (("Content-Type", b"text/plain"),)
        yield _post("Content-Type: text/plain", path, b"{}", "UNSUPPORTED_MEDIA_TYPE", status=415, headers=wrong)
    for name, charset in (("utf-16", b"utf-16"), ("nonsense", b"nonsense"), ("NUL-like", b"%00"), ("rot13", b"rot13")):
        wrong = (("Content-Type", b"application/json; charset=" + charset),)
        yield _post(f"charset {name}", PAYOUTS, b"{}", "", status=(400, 415), headers=wrong)
    twice = (("Content-Type", b"application/json"), ("Content-Type", b"text/plain"))
    yield _post("Content-Type twice", PAYOUTS, b"{}", "", status=(400, 415), headers=twice)
    yield _case("POST payouts: no Content-Type", "POST", PAYOUTS, (400, 415), headers=KEY, body=b"{}")
    upgrade = (("Connection", b"Upgrade"), ("Upgrade", b"websocket"), ("Sec-WebSocket-Version", b"13"))
    yield _post("Upgrade: websocket", PAYOUTS, b"{}", headers=upgrade)
    h2c = (("Connection", b"Upgrade, HTTP2-Settings"), ("Upgrade", b"h2c"), ("HTTP2-Settings", b"AAMAAABk"))
    yield _post("Upgrade: h2c", PAYOUTS, b"{}", headers=h2c)


_IN_CHUNKS = (("Transfer-Encoding", b"chunked"),)


def _query_cases() -> Iterator[Case]:
    def query(path: str, text: str, field: str | None, name: str = "", status: int | Iterable[int] = 400) -> Case:
        shown = name or (text if len(text) < 40 else text[:30] + "…")
        return _case(f"GET {_short(path)}?{shown}", "GET", f"{path}?{text}", status, "VALIDATION_ERROR", field)

    for path in LISTS:
        for text in ("page=0", "page=1e3", "pageSize=101", "cursor=garbage", "surprise=1", "page=1&page=2", "page=%00"):
            yield query(path, text, text.partition("=")[0])
        if path != LOGS:
            filtering = "type" if path == TRANSACTIONS else "status"
            if path != f"{DRIVER}/payouts":
                yield query(path, f"{filtering}=nonsense", filtering)
                yield query(path, f"{filtering}=%00", filtering)
        yield query(path, "cursor=garbage&page=1", None)
    for text in (
        "page=-1",
        "page=",
        "page",
        "page=%2B1",
        "page=%201",
        "page=1_0",
        "page=%EF%BC%91",
        "page=%D9%A1",
        "page=0x1",
        "page=01e0",
        "page=NaN",
        "page=null",
        "page=" + "9" * 30,
        "page=" + "9" * 6_000,
        "page=2100",
        "pageSize=0",
        "pageSize=-1",
        "pageSize=1.0",
        "pageSize=" + "9" * 30,
        "pageSize=all",
        "status=",
        "status=%ff",
        "status=%ed%a0%80",
        "status=COMPLETED",
        "status=completed%00",
        "status=completed&status=failed",
        "cursor=",
        "cursor=%00",
        "cursor=%ff",
        "cursor=%ed%a0%80",
        "cursor=" + "A" * 6_000,
        "cursor=AAAA",
        "cursor=e30",
        "cursor=bnVsbA==",
        "cursor=WzEsMiwzXQ",
        "cursor=../../etc/passwd",
        "cursor=%27%20OR%201=1--",
        "driverId=drv_a&driverId=drv_b",
        "page[]=1",
        "Page=1",
        "%00=1",
        "%ff=1",
        "a%ed%a0%80=1",
        "=1",
    ):
        yield query(PAYOUTS, text, None if text[0] in "%a=" else text.partition("=")[0])
    for value in ("%00", "%ff", "%ed%a0%80", "nonsense", "x" * 6_000):
        yield query(PAYOUTS, f"driverId={value}", "driverId", status=(200, 400))
    for value in ("%00", "%ff", "%ed%a0%80", "nonsense", "x" * 6_000):
        yield query(LOGS, f"event={value}", "event", status=(200, 400))
    yield query(PAYOUTS, "&".join(f"p{number}=1" for number in range(900)), None, "900 parameters")
    for text in ("", "amount=", "amount=1e5", "amount=50_000", "amount=%00", "amount=" + "9" * 6_000, "amount=NaN"):
        yield query(FEE, text, "amount")
    yield query(FEE, "amount=50000&amount=60000", "amount")
    yield query(FEE, "amount=50000&surprise=1", "surprise")
    yield query(BALANCE, "surprise=1", "surprise")


def _path_cases() -> Iterator[Case]:
    def get(name: str, target: str | bytes, status: int | Iterable[int] = 404, code: str = "") -> Case:
        return _case(name, "GET", target, status, code)

    for path, code, other, ours in (
        (PAYOUTS, "PAYOUT_NOT_FOUND", "drv_00000000000000000000000000", "$payout_upper"),
        (DRIVERS, "DRIVER_NOT_FOUND", "pay_00000000000000000000000000", "$driver_upper"),
        (BATCHES, "BATCH_NOT_FOUND", "pay_00000000000000000000000000", "BATCH_00000000000000000000000000"),
    ):
        for name, identifier in (
            ("of another kind", other),
            ("in upper case", ours),
            ("without prefix", "00000000000000000000000000"),
            ("only the prefix", _PREFIX[path]),
            ("a UUID", "01a204d6-e2a4-755e-9057-a27a754b763d"),
            ("a number", "1"),
            ("6 KB", "x" * 6_000),
            ("in Chinese", "%E5%8F%B8%E6%9C%BA"),
            ("emoji", "%F0%9F%9A%9A"),
            ("SQL", "%27%20OR%20%271%27=%271"),
            ("too large a number in the right form", _PREFIX[path] + "z" * 26),
        ):
            yield get(f"GET {_short(path)}/id: {name}", f"{path}/{identifier}", 404, code)
        for name, identifier in (
            ("%00", "%00"),
            ("%ff", "%ff"),
            ("a surrogate", "%ED%A0%80"),
            ("%0d%0a", "a%0d%0aB:%20c"),
        ):
            yield get(f"GET {_short(path)}/id: {name}", f"{path}/{identifier}", (400, 404))
    for action in ("cancel", "retry"):
        yield _case(f"POST payouts/%00/{action}", "POST", f"{PAYOUTS}/%00/{action}", (400, 404), body=b"")
        yield _case(f"POST payouts/6 KB/{action}", "POST", f"{PAYOUTS}/{'x' * 6000}/{action}", 404, body=b"")
    for action in ("release", "run"):
        yield _case(f"POST batches/%00/{action}", "POST", f"{BATCHES}/%00/{action}", (400, 404), body=b"")
    yield _case("DELETE drivers/%00", "DELETE", f"{DRIVERS}/%00", (400, 404))
    yield _case("GET developer/keys/%00", "GET", f"{KEYS}/%00", (400, 401, 404), headers=SESSION)

    slash = "POST an encoded slash: payouts/:id%2Fcancel"
    yield _case(slash, "POST", f"{PAYOUTS}/$payout%2Fcancel", (400, 404, 405), body=b"")
    yield get("encoded slash: payouts/%2F", f"{PAYOUTS}/%2F")
    yield get("encoded slash: payouts%2F:id", f"{PAYOUTS}%2F$payout", 404, "NOT_FOUND")
    yield get("encoded slash: drivers/:id%2Fpayouts", f"{DRIVER}%2Fpayouts")
    yield get("encoded slash: api%2Fv1/balance", "/api%2Fv1/balance", 404, "NOT_FOUND")
    yield get("encoded slash, small: drivers/:id%2fpayouts", f"{DRIVER}%2fpayouts")
    yield get("encoded backslash", f"{PAYOUTS}%5C$payout", 404)
    yield get("slash encoded twice", f"{DRIVER}%252Fpayouts", 404)
    for target in (
        "/api/v1/payouts/",
        "//api/v1/payouts",
        "/api/v1//payouts",
        "/api//v1/payouts",
        "/api/v1/payouts//",
        "/api/v1/payouts;v=1",
        "/API/V1/PAYOUTS",
        "/api/v1/payouts%20",
        "/api/v1/payouts%00",
        "/api/v1/payouts%0a",
        "/api/v2/payouts",
        "/api/v1",
        "/%",
        "/%zz",
        "/%u0041",
        "/%ff%fe",
        "/..",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/.git/config",
        "/metrics",
        "/api/v1/payouts/../../../health",
        "/api/v1/drivers/../payouts",
        "/api/v1/drivers/%2e%2e/payouts",
        "/api/v1/./payouts",
        "/api/v1/" + "a/" * 2_000,
        "/" + "%41" * 2_500,
    ):
        shown = target if len(target) < 50 else f"{target[:20]}… ({len(target)} bytes)"
        yield get(f"GET {shown}", target, (400, 404))
    yield get("GET a path of 10 KB", "/api/v1/" + "x" * 10_000, (400, 414))
    yield get("GET a path of 64 KB", f"{PAYOUTS}/{'x' * 65_536}", (400, 414))
    yield get("GET a path of 1 MB", "/" + "x" * 1_000_000, (400, 414))
    yield get("GET a query of 10 KB", f"{PAYOUTS}?status={'x' * 10_000}", (400, 414))
    for name, target in (
        ("UTF-8 in the path", "/api/v1/payouts/Köln".encode()),
        ("Latin-1 in the path", b"/api/v1/payouts/K\xf6ln"),
        ("a byte ff in the path", b"/api/v1/payouts/\xff"),
        ("NUL in the path", b"/api/v1/payouts/\x00"),
        ("DEL in the path", b"/api/v1/payouts/\x7f"),
        ("CR in the path", b"/api/v1/payouts/a\rb"),
        ("LF in the path", b"/api/v1/payouts/a\nb"),
        ("a tab in the path", b"/api/v1/payouts/a\tb"),
        ("a blank in the path", b"/api/v1/payouts/a b"),
        ("a fragment", b"/api/v1/payout#frag"),
        ("a byte ff in the query", b"/api/v1/payouts?status=\xff"),
        ("NUL in the query", b"/api/v1/payouts?status=\x00"),
        ("no slash", b"payouts"),
        ("an asterisk", b"*"),
        ("absolute, somewhere else", b"http://example.com/api/v1/payout"),
        ("absolute, of no host", b"http:///api/v1/payout"),
        ("absolute, port 99999", b"http://a:99999/api/v1/payout"),
        ("absolute, port x", b"http://a:x/api/v1/payout"),
        ("absolute, open bracket", b"http://[::1/api/v1/payout"),
        ("absolute, another scheme", b"gopher://a/api/v1/payout"),
        ("two slashes and a bracket", b"//[/api"),
        ("a host and port", b"127.0.0.1:80"),
    ):
        yield get(f"target: {name}", target, (400, 404))


_PREFIX = {PAYOUTS: "pay_", DRIVERS: "drv_", BATCHES: "batch_"}


def _method_cases() -> Iterator[Case]:
    def refused(method: str, path: str, status: int | Iterable[int] = 405, body: bytes | None = None) -> Case:
        case = _case(f"{method} {_short(path)}", method, path, status, body=body)
        return replace(case, codes=frozenset({"METHOD_NOT_ALLOWED"}), headers=("allow",))

    for method, path in (
        ("PATCH", PAYOUTS),
        ("PUT", PAYOUTS),
        ("DELETE", PAYOUTS),
        ("PATCH", DRIVER),
        ("POST", DRIVER),
        ("POST", BALANCE),
        ("DELETE", BALANCE),
        ("GET", TOPUP),
        ("POST", FEE),
        ("PATCH", PAYSTREAM),
        ("DELETE", BATCHES),
        ("POST", SCHEDULED),
        ("POST", LOGS),
        ("GET", LOGIN),
        ("PUT", KEYS),
        ("POST", "/health"),
        ("DELETE", "/health"),
        ("GET", f"{PAYOUTS}/$payout/cancel"),
        ("OPTIONS", PAYOUTS),
        ("OPTIONS", "/health"),
        ("TRACE", PAYOUTS),
        ("TRACE", "/health"),
        ("PROPFIND", PAYOUTS),
        ("PURGE", DRIVERS),
    ):
        yield refused(method, path, body=b"{}" if method in ("POST", "PUT", "PATCH") else None)
    # For GET, `paystream` is the id of one of the customer's webhooks, and there is none by that name.
    yield _case("GET webhooks/paystream", "GET", PAYSTREAM, 404)
    for method in ("BREW", "get", "Post", "GETT", "G" * 5_000, "G E T", "G\0T", "G\xc9T", "", "GET\t", "@"):
        shown = method if len(method) < 20 else f"{method[:5]}… ({len(method)} bytes)"
        yield _case(f"method {shown!a}", method, PAYOUTS, (400, 405))
    yield _raw(
        "CONNECT example.com:443", b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", (400, 404, 405)
    )
    yield _case("CONNECT payouts", "CONNECT", PAYOUTS, (400, 404, 405))
    yield _raw("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", (400, 404, 405), method="OPTIONS")
    yield _case("HEAD an unknown path", "HEAD", "/api/v1/payout", 404)
    yield _case("HEAD without a key", "HEAD", PAYOUTS, (401, 405), headers=())
    yield _case("HEAD payouts?page=0", "HEAD", f"{PAYOUTS}?page=0", (400, 405))
    yield _case("method override", "POST", BALANCE, 405, headers=(*KEY, ("X-HTTP-Method-Override", b"GET")), body=b"")


def _header_cases() -> Iterator[Case]:
    def get(name: str, headers: Headers, status: int | Iterable[int] = 400, code: str = "") -> Case:
        return _case(name, "GET", BALANCE, status, code, headers=headers)

    # too much
    yield get("header of 10 KB", (*KEY, ("X-Padding", b"x" * 10_240)))
    yield get("header of 1 MB", (*KEY, ("X-Padding", b"x" * 1_000_000)))
    yield get("header name of 10 KB", (*KEY, ("X" * 10_240, b"x")))
    yield get("Authorization of 10 KB", (("Authorization", b"Bearer " + b"x" * 10_240),))
    yield get("Cookie of 10 KB", (*KEY, ("Cookie", b"a=" + b"x" * 10_240)))
    yield get("1,000 headers", (*KEY, *[(f"X-{number}", b"x") for number in range(1_000)]))
    yield get("100,000 headers", (*KEY, *[(f"X-{number}", b"x") for number in range(100_000)]))
    many = [(f"X-{number}", b"x" * 8_000) for number in range(100)]
    yield _case("100 headers of 8 KB", "GET", "/api/v1/payout", (400, 404), headers=many)
    padding = (*KEY, *JSON, ("X-Padding", b"x" * 10_240))
    yield _case("POST payouts: header of 10 KB", "POST", PAYOUTS, 400, headers=padding, body=b"{}")
    long_key = (*KEY, *JSON, ("Idempotency-Key", b"x" * 10_240))
    yield _case("POST payouts: Idempotency-Key of 10 KB", "POST", PAYOUTS, 400, headers=long_key, body=b"{}")
    # not as headers are written
    for name, line in (
        ("without colon", b"X-Nothing"),
        ("without name", b": x"),
        ("with a blank before the colon", b"X-A : x"),
        ("with a blank before the name", b" X-A: x"),
        ("with a bracket in its name", b"X[]: x"),
        ("with a byte ff in its name", b"X-\xff: x"),
        ("with NUL in its name", b"X-\x00: x"),
        ("with NUL", b"X-A: a\x00b"),
        ("with CR", b"X-A: a\rb"),
        ("with a control character", b"X-A: a\x01b"),
        ("with DEL", b"X-A: a\x7fb"),
        ("folded", b"X-A: a\r\n b"),
    ):
        data = b"GET /api/v1/balance HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $key\r\n" + line + b"\r\n\r\n"
        yield _raw(f"header {name}", data, (400,) if "NUL" in name or "name" in name else (400, 401))
    # Authorization
    for name, value in (
        ("Bearer", b"Bearer"),
        ("Bearer and blanks", b"Bearer   "),
        ("three words", b"Bearer a b"),
        ("the key twice", b"Bearer $key $key"),
        ("two with a comma", b"Bearer $key, Bearer $key"),
        ("Basic of no base64", b"Basic \xff"),
        ("Basic", b"Basic dXNlcjpwYXNz"),
        ("Digest", b'Digest username="a", realm='),
        ("Negotiate", b"Negotiate TlRMTVNTUAAB"),
        ("8,000 letters", b"Bearer " + b"x" * 8_000),
        ("Latin-1", b"Bearer ovnp_sbox_\xe9\xff"),
        ("Chinese", "Bearer ovnp_sbox_司机".encode()),
        ("SQL", b"Bearer ovnp_sbox_' OR '1'='1"),
        ("a percent sign", b"Bearer ovnp_sbox_%00%s%n"),
        ("a session made up", b"Bearer ovnp_sess_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("a JWT of no algorithm", b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
        ("empty", b""),
        ("only blanks", b"    "),
    ):
        yield get(f"Authorization: {name}", (("Authorization", value),), 401, "UNAUTHORIZED")
    yield get("Authorization with NUL", (("Authorization", b"Bearer \x00"),), (400, 401))
    yield get("Authorization: the key and a control character", (("Authorization", b"Bearer $key\x01"),), (400, 401))
    yield get("Authorization twice, garbage first", (("Authorization", b"x"), *KEY), (200, 400, 401))
    yield get("Authorization twice, garbage last", (*KEY, ("Authorization", b"x")), (200, 400, 401))
    yield _case("session page with an API key", "GET", KEYS, 401, "UNAUTHORIZED", headers=KEY)
    yield _case("session page with Latin-1", "GET", KEYS, 401, headers=(("Authorization", b"Bearer ovnp_sess_\xe9"),))
    # Idempotency-Key, before a payout that would be made without it
    payout = b'{"driverId": "$driver", "amount": 1000}'
    for name, value in (
        ("of 300 characters", b"x" * 300),
        ("of 8,000 characters", b"x" * 8_000),
        ("empty", b""),
        ("only blanks", b"   "),
        ("with a tab", b"a\tb"),
        ("with a control character", b"a\x01b"),
        ("with NUL", b"a\x00b"),
        ("with DEL", b"a\x7fb"),
        ("in Latin-1", b"cl\xe9"),
        ("in UTF-8", "clé".encode()),
        ("with a surrogate as UTF-8", b"\xed\xa0\x80"),
    ):
        # what is no header at all is refused by the parser, under a code of its own
        code = "" if b"\x00" in value or b"\x01" in value or b"\x7f" in value else "VALIDATION_ERROR"
        for path in (PAYOUTS, TOPUP, BULK_PAYOUTS)[: 3 if name in ("of 300 characters", "in UTF-8") else 1]:
            body = payout if path == PAYOUTS else json.dumps(_FINE[TOPUP][0]).encode()
            if path == BULK_PAYOUTS:
                body = b'{"payouts": [' + payout + b"]}"
            headers = (("Idempotency-Key", value),)
            yield _post(
                f"Idempotency-Key {name}", path, body, code, "Idempotency-Key" if code else None, headers=headers
            )
    keys = (("Idempotency-Key", b"first-of-two"), ("Idempotency-Key", b"second-of-two"))
    yield _post("Idempotency-Key twice", PAYOUTS, payout, "VALIDATION_ERROR", headers=keys)
    for value in (b"nonsense", b"\xff", b"", b"success, rate_limited"):
        scenario = (*KEY, ("X-Sandbox-Scenario", value))
        case = _case(f"X-Sandbox-Scenario: {value!r}", "GET", BALANCE, 400, "VALIDATION_ERROR", headers=scenario)
        yield replace(case, field="X-Sandbox-Scenario")
    # what we don't look at may be anything; the path is unknown
    for name, value in (
        ("Host", b"["),
        ("Host", b"a:99999"),
        ("Host", b"a:b:c"),
        ("Host", b"a b"),
        ("Host", b"\xff"),
        ("Host", b""),
        ("Host", b"x" * 8_000),
        ("X-Forwarded-For", b"';--\xff"),
        ("X-Forwarded-Proto", b"javascript"),
        ("X-Forwarded-Host", b"["),
        ("Forwarded", b'for="[;;;'),
        ("Cookie", b'a="\\777; =; ;;\xff'),
        ("Range", b"bytes=9-1,-"),
        ("If-Modified-Since", b"yesterday"),
        ("If-None-Match", b'"'),
        ("Accept", b"\xff/\xff;q=x"),
        ("Accept-Encoding", b"gzip;q=x, \xff"),
        ("Accept-Language", b"x" * 8_000),
        ("Date", b"never"),
        ("Traceparent", b"00-zz"),
        ("X-Request-Id", b"\xff" * 100),
        ("Connection", b"keep-alive, close, \xff"),
        ("Keep-Alive", b"timeout=x"),
        ("TE", b"trailers;q=x"),
        ("Max-Forwards", b"-1"),
    ):
        shown = value[:30]
        unknown = _case(f"{name}: {shown!r}", "GET", "/api/v1/payout", (400, 404), headers=(*KEY, (name, value)))
        yield unknown
    for value in (b"something", b"", b"100-continue, other", b"\xff"):
        expect = (("Expect", value),)
        yield _post(f"Expect: {value!r}", PAYOUTS, b"{}", "", status=(400, 417), headers=expect)


def _framing_cases() -> Iterator[Case]:
    """What is no HTTP/1.1 message, or could be read as two different ones."""

    def post(name: str, headers: bytes, rest: bytes, status: int | Iterable[int] = 400) -> Case:
        head = b"POST /api/v1/payouts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer $key\r\n"
        head += b"Content-Type: application/json\r\n"
        return replace(_raw(name, head + headers + b"\r\n" + rest, status, method="POST"), ends_connection=True)

    hidden = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    for name, value in (
        ("a word", b"abc"),
        ("negative", b"-1"),
        ("with a plus", b"+2"),
        ("hexadecimal", b"0x2"),
        ("a fraction", b"2.0"),
        ("an exponent", b"2e0"),
        ("with an underscore", b"1_0"),
        ("empty", b""),
        ("a list", b"2, 2"),
        ("a list of two", b"2, 30"),
        ("of 30 digits", b"9" * 30),
        ("of 5,000 digits", b"9" * 5_000),
        ("full-width", "\uff12".encode()),
        ("with NUL", b"2\x00"),
    ):
        statuses = (400, 413) if "digits" in name else (400,)
        yield post(f"Content-Length {name}", b"Content-Length: " + value + b"\r\n", b"{}" + hidden, statuses)
    yield post("Content-Length twice, different", b"Content-Length: 2\r\nContent-Length: 36\r\n", b"{}" + hidden)
    yield post("Content-Length twice, the same", b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}" + hidden)
    both = b"Transfer-Encoding: chunked\r\n"
    yield post("Transfer-Encoding and Content-Length", both + b"Content-Length: 2\r\n", b"0\r\n\r\n" + hidden)
    yield post("Content-Length and Transfer-Encoding", b"Content-Length: 2\r\n" + both, b"0\r\n\r\n" + hidden)
    for value in (
        b"gzip",
        b"identity",
        b"xchunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"\x0bchunked",
        b"chunked;a=b",
        b"",
    ):
        yield post(f"Transfer-Encoding: {value!r}", b"Transfer-Encoding: " + value + b"\r\n", b"0\r\n\r\n" + hidden)
    compressed = gzip.compress(b"{}")
    inside = b"%x\r\n%s\r\n0\r\n\r\n" % (len(compressed), compressed)
    coded = post("Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", inside, (400, 415))
    yield replace(coded, ends_connection=False)
    yield post("Transfer-Encoding twice", both + both, b"0\r\n\r\n" + hidden)
    for name, rest in (
        ("size is a word", b"zz\r\n{}\r\n0\r\n\r\n"),
        ("size is negative", b"-2\r\n{}\r\n0\r\n\r\n"),
        ("size is 0x2", b"0x2\r\n{}\r\n0\r\n\r\n"),
        ("size is missing", b"\r\n{}\r\n0\r\n\r\n"),
        ("size has a blank", b" 2\r\n{}\r\n0\r\n\r\n"),
        ("size of 17 digits", b"FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n"),
        ("size smaller than the chunk", b"1\r\n{}\r\n0\r\n\r\n"),
        ("line ends with LF only", b"2\n{}\n0\n\n"),
        ("trailer of 10 KB", b"2\r\n{}\r\n0\r\nX-Padding: " + b"x" * 10_240 + b"\r\n\r\n"),
        ("trailer without colon", b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n"),
    ):
        yield post(f"chunk: {name}", both, rest + hidden)
    for name, rest in (
        ("chunk: size of 10,000 digits", b"0" * 10_000 + b"2\r\n{}\r\n0\r\n\r\n"),
        ("chunk: extension of 10 KB", b"2;" + b"x" * 10_240 + b"\r\n{}\r\n0\r\n\r\n"),
    ):
        yield replace(post(name, both, rest), ends_connection=False)
    # the first line
    for name, data in (
        ("HTTP/0.9", b"GET /health\r\n\r\n"),
        ("only a method", b"GET\r\n\r\n"),
        ("no version", b"GET /health \r\nHost: a\r\n\r\n"),
        ("HTTP/1.11", b"GET /health HTTP/1.11\r\nHost: a\r\n\r\n"),
        ("HTTP/9.9", b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n"),
        ("HTTP/2.0", b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n"),
        ("HTTP/1.", b"GET /health HTTP/1.\r\nHost: a\r\n\r\n"),
        ("http/1.1", b"GET /health http/1.1\r\nHost: a\r\n\r\n"),
        ("HTTPS/1.1", b"GET /health HTTPS/1.1\r\nHost: a\r\n\r\n"),
        ("one word too many", b"GET /health now HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a tab between", b"GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
        ("a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\xaa" * 160),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("1 KB of NUL", b"\0" * 1_024),
        ("1 KB of ff", b"\xff" * 1_024),
        ("a line of 100 KB that never ends", b"G" * 100_000),
    ):
        yield replace(_raw(f"first line: {name}", data), ends_connection=True)
    yield _raw("HTTP/1.1 without Host", b"GET /health HTTP/1.1\r\n\r\n")
    yield _raw("Host twice", b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    unfinished = post("body cut off", b"Content-Length: 100\r\n", b'{"amount": ', (0, 400, 408))
    yield replace(unfinished, hang_up=True)
    yield replace(_raw("headers cut off", b"GET /health HTTP/1.1\r\nHost:", (0, 400, 408)), hang_up=True)
    yield replace(post("chunk cut off", both, b"10\r\n{}", (0, 400, 408)), hang_up=True)


def _slow_cases() -> Iterator[Case]:
    """Bodies that come one byte a second, or never: the answer comes when 10 s are over. And what takes a pause."""
    late = 11.5

    def slow(name: str, method: str, path: str, body: bytes, headers: Headers, drip: bool = True) -> Case:
        """One byte a second, or the body in one piece and then silence."""
        announced = (*headers, *JSON, ("Content-Length", b"400"))
        head = request(method, path.encode(), announced)
        codes, seconds = frozenset({"REQUEST_TIMEOUT"}), late
        return Case(name, method, (head, body), frozenset({408}), codes, None, seconds, 1.0 if drip else 0.0, drip)

    long = b'{"driverId": "drv_abc", "amount": 1000, "description": "' + b"x" * 300 + b'"}'
    for path in (PAYOUTS, DRIVERS, BULK_PAYOUTS, TOPUP, BATCHES):
        yield slow(f"POST {_short(path)}: a byte a second", "POST", path, long, KEY)
    yield slow("PUT drivers/:id: a byte a second", "PUT", DRIVER, long, KEY)
    yield slow("POST auth/login: a byte a second", "POST", LOGIN, long, ())
    yield slow("POST webhooks/paystream: a byte a second", "POST", PAYSTREAM, long, (("X-Signature", b"t=1,v1=00"),))
    yield slow("POST payouts: body never comes", "POST", PAYOUTS, b"", KEY, drip=False)
    yield slow("POST payouts: half a body and no more", "POST", PAYOUTS, long[:100], KEY, drip=False)
    without_key = slow("POST payouts: a byte a second, no key", "POST", PAYOUTS, long, ())
    yield replace(without_key, statuses=frozenset({401, 408}), codes=frozenset({"UNAUTHORIZED", "REQUEST_TIMEOUT"}))
    head = request("POST", PAYOUTS.encode(), (*KEY, *JSON, *_IN_CHUNKS))
    yield Case(
        "POST payouts: a byte of a chunk a second",
        "POST",
        (head, b"1\r\n{\r\n1\r\n \r\n" * 9),
        frozenset({408}),
        frozenset({"REQUEST_TIMEOUT"}),
        seconds=late,
        pause_seconds=1.0,
        drip=True,
    )
    for name, wrong in (
        ("size is a word", b"zz\r\n"),
        ("size of 17 digits", b"FFFFFFFFFFFFFFFFF\r\n"),
        ("size smaller than the chunk", b"1\r\n{}\r\n"),
        ("trailer of 10 KB", b"0\r\nX: " + b"x" * 10_240 + b"\r\n\r\n"),
    ):
        pieces = (head + b"2\r\n{}\r\n", wrong)
        yield Case(f"chunk, after a pause: {name}", "POST", pieces, frozenset({400}), pause_seconds=0.3)
    in_time = slow("POST payouts: seven bytes in seven seconds are read", "POST", PAYOUTS, b'{"a":1}', KEY)
    in_time = replace(in_time, statuses=frozenset({400}), codes=frozenset({"VALIDATION_ERROR"}), seconds=9)
    yield replace(in_time, pieces=tuple(piece.replace(b"Length: 400", b"Length: 7") for piece in in_time.pieces))


def _webhook_cases() -> Iterator[Case]:
    def notice(name: str, body: bytes, *headers: tuple[str, bytes], status: int | Iterable[int] = (400, 401)) -> Case:
        return _case(
            f"POST webhooks/paystream: {name}", "POST", PAYSTREAM, status, headers=(*headers, *JSON), body=body
        )

    for name, value in (
        ("no signature's form", b"garbage"),
        ("empty", b""),
        ("Latin-1", b"t=1,v1=\xe9"),
        ("t is a word", b"t=x,v1=00"),
        ("t has 5,000 digits", b"t=" + b"9" * 5_000 + b",v1=00"),
        ("t is NaN", b"t=NaN,v1=00"),
        ("t is full-width", "t=\uff11,v1=00".encode()),
        ("a thousand v1", b"t=1" + b",v1=00" * 1_000),
        ("no t", b"v1=00"),
        ("no hexadecimal", b"t=1,v1=zz"),
    ):
        yield notice(f"X-Signature: {name}", b"{}", ("X-Signature", value))
    yield notice("no JSON, unsigned", b"\xff\xfe{")
    yield notice("nested, unsigned", b"[" * 100_000)
    yield notice("X-Signature twice", b"{}", ("X-Signature", b"t=1,v1=00"), ("X-Signature", b"t=1,v1=00"))


FAST: list[Case] = [
    *_json_cases(),
    *_collections(),
    *_bodies(),
    *_query_cases(),
    *_path_cases(),
    *_method_cases(),
    *_header_cases(),
    *_framing_cases(),
    *_webhook_cases(),
]
SLOW: list[Case] = list(_slow_cases())
