"""Marked secrets, requests with them in every place, and the search for them.

A secret is found in any form: plain, any twelve characters of it, base64, hexadecimal.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.openapi.operation import operation_of
from gateway.routes import ROUTES, Route
from tests.support.raw_http import Headers, RawAnswer, exchange, request

_PIECE = 12
_OF_ITEMS = ("driverId", "amount", "description", "loadId", "ovnDriverId", "name", "email", "phone", "duplicateReason")
_SECONDS = 15
_RETURNED_ITEM = re.compile(rb'"item":(\{[^}]*\}|"[^"]*"|\[[^\]]*\])')


@dataclass(frozen=True)
class Secret:
    """One marked secret."""

    name: str
    value: str
    shown: str = ""
    """A pattern of the routes whose successful responses may show it."""
    kept: bool = False
    """Whether the database stores it as it is, like a driver's name."""
    pushed: bool = True
    """Whether a client can send it; secrets of the services are only searched for."""

    def forms(self) -> list[bytes]:
        """Return the forms to search for."""
        raw = self.value.encode()
        pieces = [raw[at : at + _PIECE] for at in range(0, len(raw) - _PIECE + 1, _PIECE)] or [raw]
        return [*pieces, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode()]


@dataclass(frozen=True)
class Response:
    """A response and its route."""

    route: str
    status: int
    text: bytes


@dataclass
class SecretSender:
    """Sends requests with secrets, and records requests and responses."""

    url: str
    secrets: list[Secret]
    responses: list[Response] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)

    @property
    def bundle(self) -> str:
        """All secrets that a client can send, in one text."""
        return ".".join(secret.value for secret in self.secrets if secret.pushed)

    def raw(self, route: str, piece: bytes, method: str = "GET", *, hang_up: bool = False) -> RawAnswer:
        """Send bytes."""
        answer = exchange(self.url, [piece], _SECONDS, method=method, hang_up=hang_up)
        of_the_moment = {"x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset", "date"}
        lines = (f"{name}: {value}" for name, value in answer.headers.items() if name not in of_the_moment)
        head = "\n".join(lines).encode()
        route = f"{route} (hung up)" if hang_up else route
        self.responses.append(Response(route, answer.status, head + b"\n\n" + answer.body + answer.behind))
        self.sent.append((route, piece))
        self.times.update(secret.name for secret in self.secrets if secret.value.encode() in piece)
        return answer

    def ask(
        self, route: str, body: object = None, *, token: str = "", headers: Headers = (), query: str = "", **path: str
    ) -> Any:
        """Send a valid request; return the JSON of the response."""
        method, target = route.split()
        for name, value in path.items():
            target = target.replace(f"{{{name}}}", value)
        target += f"?{query}" if query else ""
        lines = [*headers, *([("Authorization", f"Bearer {token}".encode())] if token else [])]
        content = None
        if body is not None:
            lines.append(("Content-Type", b"application/json"))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.raw(route, request(method, target.encode(), lines, content), method)
        return (
            json.loads(answer.body) if answer.headers.get("content-type", "").startswith("application/json") else None
        )

    def sweep(self, tokens: Mapping[str, str]) -> None:
        """Send the bundle in every wrong place of a request to every route, with the `tokens` for the routes."""
        for route in ROUTES:
            for piece, hang_up in _wrong(route, self.bundle, tokens):
                self.raw(f"{route.method} {route.path}", piece, route.method, hang_up=hang_up)
        for piece in _unreadable(self.bundle.encode()):
            self.raw("unreadable", piece)

    def count(self, secret: Secret, texts: Iterable[bytes]) -> int:
        """How often any form of the secret is in the texts."""
        forms = secret.forms()
        return sum(max(text.count(form) for form in forms) for text in texts)

    def answers(self, *, errors: bool, of: Secret | None = None) -> Iterator[bytes]:
        """Yield the error responses, or the successes that must not show a secret.

        A rejected item of a bulk request is returned as it was sent, as the API reference shows, and left out here.
        """
        for response in dict.fromkeys(self.responses):
            if errors == (response.status >= 400) and not (of and of.shown and re.search(of.shown, response.route)):
                yield _RETURNED_ITEM.sub(b"", response.text) if "/bulk" in response.route else response.text


def _wrong(route: Route, bundle: str, tokens: Mapping[str, str]) -> Iterator[tuple[bytes, bool]]:
    """Yield requests with the bundle in wrong places, and whether the client hangs up."""
    token = tokens["key" if isinstance(route.access, str) else "session"] if route.access else ""
    known: Headers = [("Authorization", f"Bearer {token}".encode())] if token else []
    text, escaped = bundle.encode(), quote(bundle).encode()
    path = re.sub(r"\{\w+\}", "drv_x", route.path).encode()

    def made(
        target: bytes, headers: Headers = known, body: bytes | None = None, kind: bytes = b"application/json"
    ) -> bytes:
        typed = [] if body is None else [("Content-Type", kind)]
        return request(route.method, target, [*headers, *typed], body)

    if "{" in route.path:
        for within in (known, ()):
            yield made(re.sub(r"\{\w+\}", escaped.decode(), route.path).encode(), within), False
    for name in (escaped, *(one.encode() for one in _fields(operation_query(route)))):
        yield made(path + b"?" + name + b"=" + escaped), False
    yield made(path + b"?" + escaped + b"=1&" + escaped + b"=2"), False
    yield made(path + b"/" + escaped), False
    for scheme in (b"Bearer ", b"Basic ", b""):
        yield made(path, [("Authorization", scheme + text)]), False
    for header in ("X-Sandbox-Scenario", "X-Signature", "Idempotency-Key", "X-Request-Id", "Expect", "Cookie"):
        yield made(path, [*known, (header, text)], b"{"), False
    if route.method == "GET":
        return
    for body in _bodies(route, bundle):
        yield made(path, body=body), False
    yield made(path, body=text, kind=b"text/plain"), False
    if _declared(route) and operation_of(route.handler).has_body:  # other routes would perform the request
        yield made(path, body=b"{}", kind=text), False
    yield made(path, [*known, ("Content-Encoding", text)], b"{}"), False
    yield made(path, [*known, ("Content-Length", b"99999999")], text), False
    yield made(path, [*known, ("Content-Length", b"9999")], text), True
    yield made(path, [*known, ("Transfer-Encoding", b"chunked")], text), False


def _bodies(route: Route, bundle: str) -> Iterator[bytes]:
    quoted = json.dumps(bundle).encode()
    yield quoted
    yield quoted[:-1]
    yield b'{"x": ' + quoted + b"}"
    yield b"{" + quoted + b": 1}"
    yield b"{" + quoted + b": 1, " + quoted + b": 2}"
    yield b"\xff" + quoted
    yield b'{"x": "\\u0000' + quoted[1:] + b"}"
    yield b"[" * 2_000 + quoted
    whole = dict.fromkeys(_fields(operation_of(route.handler).body), bundle) if _declared(route) else {}
    yield json.dumps(whole).encode()
    for name in whole:
        item = dict.fromkeys(_OF_ITEMS, bundle)
        items = [[item], *([{inner: bundle}] for inner in _OF_ITEMS)] if name in ("payouts", "drivers") else []
        for value in (bundle, [bundle], {bundle: bundle}, *items):
            yield json.dumps({name: value}).encode()


def _unreadable(bundle: bytes) -> Iterator[bytes]:
    yield bundle + b"\r\n\r\n"
    yield b"GET /" + bundle + b" HTTP/9.9\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: x\r\n" + bundle + b"\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + bundle + b"\x00\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + bundle * 20 + b"\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: " + bundle + b"\r\n\r\n"
    yield b"GET /health HTTP/1.1\r\nHost: x\r\n" + bundle[:40] + b"@: x\r\n\r\n"
    yield b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + bundle + b"\r\n"


def _declared(route: Route) -> bool:
    return hasattr(route.handler, "__operation__")


def operation_query(route: Route) -> type | None:
    """Return the type of a route's query parameters."""
    return operation_of(route.handler).query if _declared(route) else None


def _fields(shape: type | None) -> list[str]:
    return [one.encode_name for one in msgspec.structs.fields(shape)] if shape is not None else []


def table(rows: Iterable[tuple[object, ...]], widths: Callable[[int], int]) -> list[str]:
    """Return rows as lines with aligned columns."""
    return [
        "  ".join(f"{cell!s:>{widths(at)}}" if at else f"{cell!s:{widths(0)}}" for at, cell in enumerate(row))
        for row in rows
    ]
